"""Typed settings of an evaluation, and its command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from hired_core.errors import require
from hired_core.language.generation import GenerationSettings
from hired_core.methods.registry import METHODS
from hired_core.vlm.settings import ReductionSettings
from pipeline.command_line.cli import parse_sections
from pipeline.command_line.manual import EXIT_CODES, Manual
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import (
    ModelConfig,
    RunConfig,
)

__all__ = ["EvaluationConfig", "Settings", "parse_evaluation"]

ALL: Final = "all"


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Evaluation"""

    output: str = field(repr=False)
    """Folder or URL for questions, runs and results. The questions go to its data/, each run to its
    direct/LABEL or, of the job, runs/LABEL, and the table to results.md, results.json and
    samples.parquet. Run again, what is there is kept, and only what is missing is done."""
    runner: Literal["direct", "job"] = "direct"
    """How questions are answered. 'direct': in this process on one device, each image encoded once
    for all methods and budgets. 'job': by one run of `hired vqa` for each, on all of a cluster,
    which also measures the pipeline. The texts are the same."""
    methods: str = "distinct,hired,uniform,stride,random"
    """Comma-separated, of those of `hired caption --method`, or all. docs/methods.md lists them."""
    budgets: str = "0.05,0.1,0.2,0.4,1.0"
    """Comma-separated token budgets: fractions, or counts above 1. As --budget of `hired vqa`; 1 is
    the dense model and is run once."""
    timed_images: int = 0
    """Images on which images/s are measured at the end. From cut image to text, each method and
    budget with a tower and language model of its own, all in turns. 0: not at all."""
    ablation: str | None = None
    """One of the paper's studies, instead of --methods and --budgets. They are alpha, layers,
    upstream, newlines, positions, skip_below and distinct, or all of them."""
    benchmark: str = "rendered"
    """'rendered', drawn by this package, or a public one read from --input. Those are textvqa,
    vqav2, docvqa, chartqa, scienceqa, pope, mme and ocrbench."""
    input: list[str] = field(default_factory=list)
    """Files of a public benchmark."""
    tasks: str | None = None
    """Comma-separated tasks of the benchmark. Default: all."""
    split: Literal["train", "validation", "test"] = "test"
    """Of the rendered benchmark."""
    num_samples: int | None = None
    """Images. Default: 2000, or all of a public benchmark. Fewer are drawn by --seed."""
    seed: int = 0
    """Of images, of the bootstrap and, above --temperature 0, of the sampler."""
    draws: int = 2000
    """Bootstrap draws of images behind each interval."""
    max_error_rate: float = 0.1
    """Exit with 3 when a larger share of a run's questions is quarantined. They score 0 anyway."""

    def __post_init__(self) -> None:
        require(bool(self.output.strip()), "output", self.output, "a folder or URL")
        samples = self.num_samples
        require(samples is None or samples > 0, "num_samples", samples, "1 or more")
        require(self.timed_images >= 0, "timed_images", self.timed_images, "0 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.draws >= 100, "draws", self.draws, "100 or more")
        ok = 0 <= self.max_error_rate <= 1
        require(ok, "max_error_rate", self.max_error_rate, "0 to 1")
        require(bool(self.method_names), "methods", self.methods, "at least one")
        require(bool(self.budget_values), "budgets", self.budgets, "at least one")

    @property
    def method_names(self) -> list[str]:
        """With every registered one in place of "all"."""
        return list(METHODS) if self.methods.strip() == ALL else split_list(self.methods)

    @property
    def budget_values(self) -> list[float]:
        try:
            return [float(text) for text in split_list(self.budgets)]
        except ValueError as exc:
            raise ConfigError(f"budgets: expected numbers, got {self.budgets!r}") from exc

    def tasks_of(self, known: Sequence[str], benchmark: str) -> tuple[str, ...]:
        """The chosen ones of `known` in the benchmark's order."""
        if self.tasks is None:
            return tuple(known)
        asked = split_list(self.tasks)
        for task in asked:
            if task not in known:
                there = ", ".join(known)
                raise ConfigError(f"tasks: {benchmark} has no {task!r}; there are {there}")
        require(bool(asked), "tasks", self.tasks, "at least one")
        return tuple(task for task in known if task in asked)


def split_list(text: str) -> list[str]:
    """The entries of a comma-separated list, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All settings of an evaluation; `reduction` is what its runs start from."""

    evaluation: EvaluationConfig
    reduction: ReductionSettings = field(default_factory=ReductionSettings)
    model: ModelConfig = field(default_factory=ModelConfig)
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    run: RunConfig = field(default_factory=RunConfig)


_SECTIONS: Final[dict[str, type[Any]]] = {
    "evaluation": EvaluationConfig,
    "reduction": ReductionSettings,
    "model": ModelConfig,
    "generation": GenerationSettings,
    "run": RunConfig,
}
# What the runs differ in; the seed is the evaluation's.
_WITHOUT: Final = frozenset({"reduction.method", "reduction.budget", "generation.seed"})

_MANUAL: Final = Manual(
    command="evaluate",
    usage="--output URL [--methods A,B] [--budgets X,Y] [--tasks S,T] [OPTION]...",
    description="""\
Ask a vision-language model questions whose answers are known, with every method at every budget of
visual tokens; write how right it was, with bootstrap intervals and paired differences, and what it
took, as results.md, results.json, samples.parquet, accuracy.svg and, with --timed-images, speed.svg
under --output, and page.html, examples with their kept tokens. Run again, it does what is
missing.""",
    common=(
        *("output", "runner", "methods", "budgets", "ablation", "benchmark", "input", "tasks"),
        *("num_samples", "seed", "model", "max_new_tokens", "dry_run", "max_error_rate"),
        *("timed_images", "memory_limit_gib", "progress"),
    ),
    more=f"""\
A first look: --num-samples 200 --budgets 0.1,0.2,1.0. A real model on a public benchmark:
--model llava-hf/llava-v1.6-vicuna-7b-hf --benchmark textvqa --input textvqa/*.parquet. The runs,
before they are started: --dry-run.
{EXIT_CODES}""",
)


def parse_evaluation(argv: Sequence[str]) -> Settings:
    """The settings that `argv` and the files it names describe.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    return Settings(**parse_sections(argv, _SECTIONS, _MANUAL, without=_WITHOUT))
