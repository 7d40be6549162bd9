"""What this device reaches at best: matrix products and memory traffic, measured.

The best of several tries is taken: a ceiling that noise has lowered is none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from lab.benchmark.contestants.answers import now
from lab.benchmark.roofline.work import TextShape, VisionShape

_TRIES = 10
_LEAST_SEC = 0.05


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Operations per second of each phase's own matrix shapes; bytes per second of memory.

    Attributes:
        read_bytes_per_sec: summing as many bytes as a decode step reads: where weights stay in a
            CPU's cache, so do these.
        copy_bytes_per_sec: bytes read plus bytes written, of a buffer larger than caches.
    """

    vision_flop_per_sec: float
    prefill_flop_per_sec: float
    read_bytes_per_sec: float
    copy_bytes_per_sec: float

    @property
    def bytes_per_sec(self) -> float:
        return max(self.read_bytes_per_sec, self.copy_bytes_per_sec)


def measure_ceilings(
    vision: VisionShape,
    text: TextShape,
    *,
    partitions: int,
    length: int,
    device: torch.device,
    dtype: torch.dtype,
    copy_bytes: int = 2**30,
) -> Ceilings:
    """Of `device` at the shapes of encoding `partitions` and prefilling `length` positions."""
    tokens = partitions * (vision.num_patches + 1)
    step_bytes = text.step_weights * dtype.itemsize
    return Ceilings(
        vision_flop_per_sec=_best_product(
            tokens, [(vision.width, vision.mlp), (vision.width, vision.width)], device, dtype
        ),
        prefill_flop_per_sec=_best_product(
            length, [(text.width, text.mlp), (text.width, text.width)], device, dtype
        ),
        read_bytes_per_sec=_read_rate(step_bytes, device),
        copy_bytes_per_sec=_copy_rate(copy_bytes, device),
    )


def _best_product(
    rows: int, weights: list[tuple[int, int]], device: torch.device, dtype: torch.dtype
) -> float:
    """Operations per second of [rows, n] x [n, m] at the fastest of the shapes."""
    rates = []
    for inner, outer in weights:
        x = torch.randn(rows, inner, device=device).to(dtype)
        weight = torch.randn(outer, inner, device=device).to(dtype)
        sec = _best_sec(partial(torch.nn.functional.linear, x, weight), device)
        rates.append(2 * rows * inner * outer / sec)
    return max(rates)


def _read_rate(num_bytes: int, device: torch.device) -> float:
    values = torch.ones(max(1, num_bytes // 4), device=device)
    return values.nbytes / _best_sec(values.sum, device)


def _copy_rate(num_bytes: int, device: torch.device) -> float:
    source = torch.ones(max(1, num_bytes // 8), device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_sec(lambda: target.copy_(source), device)


def _best_sec(call: Callable[[], object], device: torch.device) -> float:
    """Seconds per call: the best of several tries, each long enough for the clock."""
    call()
    repeats = 1
    while (elapsed := _timed(call, repeats, device)) < _LEAST_SEC:
        repeats = max(2 * repeats, int(repeats * _LEAST_SEC / max(elapsed, 1e-6)) + 1)
    return min(_timed(call, repeats, device) for _ in range(_TRIES)) / repeats


def _timed(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    now(device)
    started = time.perf_counter()
    for _ in range(repeats):
        call()
    return now(device) - started
