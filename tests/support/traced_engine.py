"""The slot engine on a device that is looked on at: `python -m tests.support.traced_engine`.

Shapes are those of a 7B model, weights are nothing. Two runs that differ in one layer tell what a
layer costs and what is fixed.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from transformers import AutoModelForCausalLM, MistralConfig

from hired_core.backends.slots import decoder, graphs
from hired_core.backends.slots.backend import SlotBackend
from hired_core.backends.slots.tickets import Ticket
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import LanguageModel, Request
from hired_core.methods.registry import make_options, method
from hired_core.methods.schedule import KeepSchedule
from hired_core.models.registry import load_spec
from hired_core.models.text import load_tokenizer, no_init
from tests.support.device_trace import CUDA, DeviceTrace, Seen, device_trace
from tests.support.halves import slot_layout

NEW_TOKENS = 34
VISUAL = 576


def traced_model(num_layers: int) -> LanguageModel:
    """Mistral-7B's shapes behind a two-layer projector, in bfloat16 on the device."""
    spec = load_spec("embedded")
    config = MistralConfig(num_hidden_layers=num_layers, sliding_window=None)
    with no_init(CUDA):
        language = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        projector = nn.Sequential(
            nn.Linear(1024, 4096, dtype=torch.bfloat16),
            nn.GELU(),
            nn.Linear(4096, 4096, dtype=torch.bfloat16),
        )
    return LanguageModel(
        spec=spec,
        projector=projector,
        separators=torch.zeros(1, 4096, device=CUDA, dtype=torch.bfloat16),
        decoder=language.eval(),
        tokenizer=load_tokenizer(spec),
        stop_ids=frozenset({2}),
    )


def requests(count: int) -> list[Request]:
    """Of different images, as the job makes them: features in half precision, on the host."""
    return [
        Request(
            features=torch.zeros(VISUAL, 1024, dtype=torch.float16),
            sequence=torch.arange(VISUAL),
            before=list(range(1, 9)),
            after=list(range(9, 25 + at % 4)),
        )
        for at in range(count)
    ]


def fastv(num_layers: int) -> KeepSchedule:
    """Half of an image's tokens leave in the middle."""
    make = method("fastv").schedule
    assert make is not None
    found = make(VISUAL // 2, VISUAL, num_layers, make_options("fastv", {}))
    assert found is not None
    return found


def trace_engine(
    num_layers: int, count: int = 4, schedule: KeepSchedule | None = None, **settings: Any
) -> dict[str, Seen]:
    """Of as many requests as slots: what reading one prompt, a step and a look at ends take."""
    with (
        device_trace() as trace,
        mock.patch.object(graphs, "_GraphedStep", _Plain),
        # Itself a kind of tensor, which cannot be made here; attention does not look at it.
        mock.patch.object(decoder, "causal_lower_right", lambda *_: "causal"),
    ):
        asked = requests(count)
        longest = max(request.num_prompt_tokens for request in asked) + NEW_TOKENS
        given = GenerationSettings(max_new_tokens=NEW_TOKENS, **settings)
        dropping = {"schedule": schedule, "num_visual": VISUAL if schedule else 0}
        layout = slot_layout(count, longest, chunk=1024, **dropping)
        backend = SlotBackend(traced_model(num_layers), given, layout)
        tickets = [Ticket(request=request, submitted=0.0) for request in asked]
        backend._waiting.extend(tickets)
        found = _stretches(backend, trace)
        for ticket in tickets:
            ticket.completion()  # Raises what went wrong.
        return {kind: _last(each) for kind, each in found.items()}


class _Plain:
    """Instead of graphs: the same work, by buckets and over all positions, launched as it is."""

    def __init__(self, step: Callable[..., None], decoder: Any, state: Any, *_: Any) -> None:
        self._step = step
        self._most = decoder.caches[0].num_slots
        self._lengths = [cache.max_length for cache in decoder.caches]

    def __call__(self, num_slots: int, longest: Sequence[int]) -> None:
        self._step(min(1 << (num_slots - 1).bit_length(), self._most), self._lengths)


def _stretches(backend: SlotBackend, trace: DeviceTrace) -> dict[str, list[Seen]]:
    found: dict[str, list[Seen]] = {"prompts": [], "step": [], "step and look": []}
    while backend._waiting or any(backend._busy()):
        waiting = len(backend._waiting)
        seen = trace.begin()
        backend._advance()
        if waiting:
            found["prompts"].append(seen)
        else:
            looked = bool(seen.waits or seen.downloads)
            found["step and look" if looked else "step"].append(seen)
    return found


def _last(each: list[Seen]) -> Seen:
    """Of those alike; the first ones may do things for once, the very last ends everything."""
    assert len(each) > 2 or len(each) == 1, "too few to tell"
    return each[-2] if len(each) > 2 else each[0]


def summary() -> dict[str, Any]:
    """By stretch: launches, of them by layer and fixed, and what travels or waits."""
    two, three = trace_engine(2), trace_engine(3)
    found = {}
    for name in ("prompts", "step", "step and look"):
        a, b = two[name], three[name]
        layer = Counter(b.kernels)
        layer.subtract(a.kernels)
        by_layer = b.num_kernels - a.num_kernels
        found[name] = b.to_json() | {
            "kernels_by_layer": by_layer,
            "kernels_fixed": a.num_kernels - 2 * by_layer,
            "kernels_of_32_layers": a.num_kernels + 30 * by_layer,
            "operators_by_layer": {name: n for name, n in sorted(layer.items()) if n},
        }
    return found


def main() -> None:
    """Writes what is so now beside what was before, which stays as it is in the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("results/device-trace.json"))
    output = parser.parse_args().output
    known = json.loads(output.read_text()) if output.is_file() else {}
    content = known | {"now": summary()}
    output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
