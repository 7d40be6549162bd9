"""What must come out the same: kept tokens on both devices, texts of both engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import torch

from hired_core.backends.reference import ReferenceBackend
from hired_core.backends.slots.decoder import SlotDecoder
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from hired_core.vlm.settings import ReductionSettings
from lab.benchmark.contestants.baseline import TransformersDense
from lab.benchmark.contestants.captioner import make_backend
from lab.benchmark.contestants.subject import Subject
from lab.device_check.bench import Bench, exact_float32
from lab.device_check.requests import difference, kept_of, logits_after, requests_of

_FEW: Final = 16
_BATCH: Final = 8
_GAPS: Final = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Logits as close as that, in their standard deviations, count as a tie that rounding decides."""
_LOGITS: Final = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
"""How far logits may be off, likewise."""


def selection(bench: Bench) -> dict[str, Any]:
    """The small model, in float32: places and budgets on the CPU and on the device."""
    images = bench.images[:_FEW]
    found, same = {}, True
    with exact_float32():
        for budget in bench.sizes.budgets:
            here = kept_of(bench.small, images, budget)
            there = kept_of(bench.small_on_cpu, images, budget)
            pairs = list(zip(here, there, strict=True))
            places = sum(torch.equal(a.place, b.place) for a, b in pairs)
            budgets = sum(torch.equal(a.budgets, b.budgets) for a, b in pairs)
            off = max(
                float((a.features - b.features).abs().max())
                for a, b in pairs
                if a.features.shape == b.features.shape
            )
            same = same and places == budgets == len(pairs)
            found[f"{budget:g}"] = {"same_places": places, "same_budgets": budgets, "off": off}
    summary = f"{len(images)} images, the same at each budget: {same}"
    return {"budgets": found, "checks": {"same tokens": same}, "summary": summary}


def texts(bench: Bench) -> dict[str, Any]:
    """The small model, in float32: this engine, transformers' `generate`, the model unmodified."""
    images = bench.images[:_FEW]
    with exact_float32():
        found = {
            f"budget {budget:g} to generate": _engines(bench.small, images, budget)
            for budget in (1.0, 0.2)
        }
        found["dense to the model unmodified"] = _unmodified(bench.small, images)
    return _judged(found)


def large_texts(bench: Bench) -> dict[str, Any]:
    """The large model in half precision; where texts part, it must be at a tie."""
    few = bench.images[:_BATCH]
    return _judged({"budget 0.2 to generate": _engines(bench.large, few, 0.2)})


def large_logits(bench: Bench) -> dict[str, Any]:
    """After a prompt at budget 1 and 0.2: ours beside transformers' forward pass."""
    subject, found, close = bench.large, {}, True
    for budget in (1.0, 0.2):
        (request,) = requests_of(subject, bench.images[:1], budget)
        layout = make_backend(subject, ReductionSettings(budget=budget), 1).layout
        decoder = SlotDecoder(subject.language.decoder, replace(layout, num_slots=1))
        ours = decoder.prefill(subject.language.embed(request), 0, 0)
        theirs = logits_after(subject.language, request)
        off = float((ours - theirs).abs().max() / theirs.std())
        close = close and off < _LOGITS[subject.dtype]
        found[f"{budget:g}"] = {"off": off, "positions": request.num_prompt_tokens}
        del decoder
    worst = max(each["off"] for each in found.values())
    summary = f"off by {worst:.2g} standard deviations at the most"
    return {"budgets": found, "checks": {"logits close": close}, "summary": summary}


def _engines(subject: Subject, images: Sequence[bytes], budget: float) -> dict[str, Any]:
    requests = requests_of(subject, images, budget)
    new = GenerationSettings(max_new_tokens=subject.setting.max_new_tokens)
    ours = make_backend(subject, ReductionSettings(budget=budget), _BATCH).generate(requests)
    theirs = ReferenceBackend(subject.language, new, batch_size=_BATCH).generate(requests)
    return _compared(subject, requests, [x.token_ids for x in ours], [x.token_ids for x in theirs])


def _unmodified(subject: Subject, images: Sequence[bytes]) -> dict[str, Any]:
    requests = requests_of(subject, images, 1.0)
    ours = make_backend(subject, ReductionSettings(budget=1.0), _BATCH).generate(requests)
    model = TransformersDense(subject, batch_size=_BATCH)
    model.open()
    theirs = [answer.token_ids for answer in model(images)]
    model.close()
    return _compared(subject, requests, [x.token_ids for x in ours], theirs)


def _compared(
    subject: Subject,
    requests: Sequence[Request],
    ours: Sequence[list[int]],
    theirs: Sequence[list[int]],
) -> dict[str, Any]:
    each = zip(requests, ours, theirs, strict=True)
    parted = [x for r, a, b in each if (x := difference(subject.language, r, a, b)) is not None]
    near = all(one["gap"] < _GAPS[subject.dtype] for one in parted)
    return {"texts": len(ours), "equal": len(ours) - len(parted), "parted": parted, "near": near}


def _judged(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    equal, count = (sum(each[key] for each in found.values()) for key in ("equal", "texts"))
    return {
        "compared": found,
        "checks": {name: each["near"] for name, each in found.items()},
        "summary": f"{equal} of {count} texts are equal, token for token",
    }
