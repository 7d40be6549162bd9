"""Images a second: ours at each budget, transformers dense, vLLM where it is; and the bounds."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import Any, Final

import hired_core
from hired_core.choices import BackendName
from hired_core.vlm.vlm import DEFAULT_PROMPT
from lab.benchmark.contestants.answers import Contestant
from lab.benchmark.contestants.captioner import Captioner
from lab.benchmark.contestants.registry import Entry
from lab.benchmark.measurements.contest import Measurement
from lab.benchmark.measurements.summary import summarise
from lab.benchmark.roofline import bounds
from lab.benchmark.roofline.ceilings import Ceilings
from lab.device_check.bench import Bench, Skipped

_LEAST: Final = 4
"""Images of transformers one by one; of larger batches, one batch."""


def ours(budget: float) -> Callable[[Bench], dict[str, Any]]:
    """A step: this engine at a budget, graphs captured before the clock starts."""
    return partial(_speed, Entry(budget=budget))


def theirs(batch_size: int) -> Callable[[Bench], dict[str, Any]]:
    """A step: transformers' `generate`, nothing dropped."""
    return partial(_speed, Entry(transformers=True, batch_size=batch_size))


def _speed(entry: Entry, bench: Bench) -> dict[str, Any]:
    subject, images = bench.large, bench.images
    contestant: Contestant
    if entry.transformers:
        contestant = entry.build(subject)
        images = images[: max(_LEAST, entry.batch_size or 1)]
    else:
        contestant = Captioner(subject, budget=entry.budget, max_slots=bench.sizes.max_slots)
    measurement = Measurement(
        {entry.name: contestant}, images, warm_up=len(images[:8]), log=lambda line: None
    )
    results = measurement.run(bench.sizes.repeats)
    if results.failed:
        return {"failed": results.failed, "checks": {"memory is enough": False}}
    summary = summarise(results)[entry.name]
    rate = summary["images_per_sec"]["median"]
    prepare = summary["sec_per_image"]["prepare_sec"]
    without = 1 / max(1e-9, 1 / rate - prepare)
    return {
        "entry": entry.name,
        "measured": summary,
        "images_per_sec_without_preparation": without,
        "roofline": _bounds(entry, summary, images, bench),
        "summary": f"{rate:.3g} images/s, {without:.3g} without preparing images",
    }


def _bounds(
    entry: Entry, summary: dict[str, Any], images: Sequence[bytes], bench: Bench
) -> dict[str, Any] | None:
    """Shares of what is possible, by phase; None without the ceilings."""
    known = bench.found.get("ceilings")
    if known is None:
        return None
    best = Ceilings(**{each.name: known[each.name] for each in fields(Ceilings)})
    shares: dict[str, Any] = bounds.roofline(bench.large, images, {entry: summary}, best)
    found: dict[str, Any] = shares["contestants"][entry.name]
    return found


def vllm(bench: Bench) -> dict[str, Any]:
    """The small model through vLLM, beside slots: equal texts, and both speeds."""
    if importlib.util.find_spec("vllm") is None:
        raise Skipped("vllm is not installed here")
    found: dict[str, Any] = {}
    backends: tuple[BackendName, ...] = ("slots", "vllm")
    for backend in backends:
        # vLLM knows no positions of the unmodified model's, which other methods want.
        vlm = hired_core.load("embedded", token_budget=0.2, method="hired", backend=backend)
        kept = vlm.reduce(tuple(bench.images))
        prompts = [DEFAULT_PROMPT] * len(kept)
        vlm.language.ask_each(kept[:2], prompts[:2])
        begun = time.perf_counter()
        answers = vlm.language.ask_each(kept, prompts)
        sec = time.perf_counter() - begun
        found[backend] = {"images_per_sec": len(kept) / sec, "texts": [a.text for a in answers]}
    same = sum(map(str.__eq__, found["slots"]["texts"], found["vllm"]["texts"]))
    return {"found": found, "summary": f"{same} of {len(bench.images)} texts are equal"}
