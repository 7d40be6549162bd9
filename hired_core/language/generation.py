"""How texts are generated: settings, validated where they are declared.

Field names are keys of YAML files and flags of the command line; the string under each is its help.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hired_core.errors import require
from hired_core.language.form import Form, read_schema, split_choices


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Generation"""

    max_new_tokens: int = 64
    """Tokens generated at most for a row."""
    temperature: float = 0.0
    """0: greedy. Above: sampling, seeded row by row, so a rerun repeats it."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens with this probability, 0 < p <= 1."""
    seed: int = 0
    """Of the sampler."""
    repetition_penalty: float = 1.0
    """Above 1: tokens that were generated become less likely. Their logits are divided by it, or
    multiplied where they are below 0; 1.05 to 1.2 is usual."""
    no_repeat_ngram_size: int = 0
    """No run of so many generated tokens occurs twice in a text. 0: any may."""
    min_new_tokens: int = 0
    """Tokens generated at least: until then no stop token is chosen."""
    stop_strings: tuple[str, ...] = ()
    """A text ends where one of these is generated. It is not part of the text."""
    schema: Path | dict[str, Any] | None = None
    """JSON file of a JSON Schema: texts are JSON of this form. Held to while generating, and
    checked; what does not fit, since --max-new-tokens cut it short, is quarantined. Say in the
    prompt what to write. In a YAML file, the schema itself may stand here."""
    choices: tuple[str, ...] = ()
    """Each text is exactly one of these. With commas between them; say in the prompt which there
    are. Those with commas in them: --schema, with enum."""
    generation_timeout_sec: float | None = 300.0
    """Rows that take more of the model's time are quarantined; of work done for several rows at
    once, each has its share. null: no limit."""

    def __post_init__(self) -> None:
        require(self.max_new_tokens > 0, "max_new_tokens", self.max_new_tokens, "1 or more")
        require(0 <= self.temperature < 100, "temperature", self.temperature, "0 to below 100")
        require(0 < self.top_p <= 1, "top_p", self.top_p, "0 < p <= 1")
        penalty = self.repetition_penalty
        require(0 < penalty < 100, "repetition_penalty", penalty, "above 0, below 100")
        size, least = self.no_repeat_ngram_size, self.min_new_tokens
        require(size >= 0, "no_repeat_ngram_size", size, "0 or more")
        ok = 0 <= least <= self.max_new_tokens
        require(ok, "min_new_tokens", least, f"0 to max_new_tokens, {self.max_new_tokens}")
        require(all(self.stop_strings), "stop_strings", self.stop_strings, "texts, none empty")
        timeout = self.generation_timeout_sec
        ok = timeout is None or 0 < timeout < math.inf
        require(ok, "generation_timeout_sec", timeout, "above 0, or null")
        self._settle_form()

    def _settle_form(self) -> None:
        """A file's content takes the place of its name: it is what is pickled and compared."""
        if isinstance(self.schema, Path):
            object.__setattr__(self, "schema", read_schema(self.schema))
        object.__setattr__(self, "choices", split_choices(self.choices))
        _ = self.form

    @property
    def form(self) -> Form | None:
        """What texts may be; None: anything."""
        if self.schema is None and not self.choices:
            return None
        assert not isinstance(self.schema, Path), "read when this was made"
        return Form(self.schema, self.choices)
