"""What the plan says of memory and what is taken; and a device that really runs short of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import torch

from hired_core.backends.base import GIB
from hired_core.backends.slots.backend import SlotBackend
from hired_core.language.model import Request
from hired_core.vlm.settings import ReductionSettings
from lab.benchmark.contestants.captioner import Captioner, make_backend
from lab.device_check.bench import Bench
from lab.device_check.requests import requests_of

_SLOTS: Final = 8
_ENOUGH_SEC: Final = 60
_OFF: Final = 0.05
"""Of the prediction, by which the measured peak may differ."""


def plan_and_peak(bench: Bench) -> dict[str, Any]:
    """Every slot filled once, at each budget; weights as they are loaded are taken as they are."""
    bench.require_gpu("a CPU's memory is measured by `hired benchmark --parts memory`")
    subject, found = bench.large, dict[str, Any]()
    _ = subject.original
    for budget in bench.sizes.budgets:
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        captioner = Captioner(subject, budget=budget, max_slots=bench.sizes.max_slots)
        captioner.open()
        slots = captioner.slots
        captioner((bench.images * (slots // len(bench.images) + 1))[:slots])
        layout = captioner.layout
        beside = layout.total_bytes - layout.weight_bytes
        peak = torch.cuda.max_memory_allocated() - before
        found[f"{budget:g}"] = {
            "slots": slots,
            "predicted_bytes_beside_weights": beside,
            "peak_bytes_beside_weights": peak,
            "ratio_with_weights": (layout.weight_bytes + peak) / layout.total_bytes,
            "reserved_bytes": torch.cuda.max_memory_reserved(),
            "free_total": torch.cuda.mem_get_info(bench.device),
        }
        captioner.close()
        del captioner
    ratios = [each["ratio_with_weights"] for each in found.values()]
    checks = {"prediction within 5 %": all(abs(ratio - 1) <= _OFF for ratio in ratios)}
    summary = f"peak over prediction {min(ratios):.3f} to {max(ratios):.3f}"
    return {"budgets": found, "checks": checks, "summary": summary}


def shortage(bench: Bench) -> dict[str, Any]:
    """Ballast takes what reading a prompt needs: requests end once each, and memory comes back."""
    bench.require_gpu("its memory is what runs short")
    subject = bench.large
    requests = requests_of(subject, bench.images[: 2 * _SLOTS], 0.2)
    backend = make_backend(subject, ReductionSettings(budget=0.2), _SLOTS)
    expected = [one.token_ids for one in backend.generate(requests)]
    torch.cuda.empty_cache()
    free = torch.cuda.mem_get_info(bench.device)[0]
    left = backend.layout.workspace_bytes // 4
    ballast = torch.empty(free - left, dtype=torch.uint8, device=bench.device)
    ends = _each(backend, requests)
    del ballast
    torch.cuda.empty_cache()
    again = [one.token_ids for one in backend.generate(requests)]
    torch.cuda.empty_cache()
    now_free = torch.cuda.mem_get_info(bench.device)[0]
    short = sum(isinstance(end, torch.OutOfMemoryError) for end in ends)
    right = sum(end == text for end, text in zip(ends, expected, strict=True))
    checks = {
        "every request ended, right or short": short + right == len(requests),
        "the next batch is right": again == expected,
        "memory came back": now_free > free - GIB // 4,
    }
    summary = f"of {len(requests)} requests {right} right, {short} told that memory is short"
    return {"checks": checks, "right": right, "short": short, "left": left, "summary": summary}


def _each(backend: SlotBackend, requests: Sequence[Request]) -> list[Any]:
    """Token ids or the error, of each request, all of them asked for at once."""
    with ThreadPoolExecutor(len(requests)) as threads:
        calls = [threads.submit(backend.generate, [request]) for request in requests]
        errors = [call.exception(_ENOUGH_SEC) for call in calls]
    return [
        call.result()[0].token_ids if error is None else error
        for call, error in zip(calls, errors, strict=True)
    ]
