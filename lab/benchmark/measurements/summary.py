"""From raw turns to the figures people look at."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lab.benchmark.contestants.answers import PHASES
from lab.benchmark.measurements.contest import Results, Turn


def summarise(results: Results, peaks: Mapping[str, int | None] | None = None) -> dict[str, Any]:
    """By contestant; ratios are to the first one that ran, within a repeat.

    Args:
        peaks: peak memory where the turns do not know it.
    """
    repeats = results.repeats
    names = list(dict.fromkeys(name for repeat in repeats for name in repeat))
    if not names:
        return {}
    return {
        name: _summary([r for r in repeats if name in r], name, names[0], (peaks or {}).get(name))
        for name in names
    }


def _summary(
    repeats: Sequence[Mapping[str, Turn]], name: str, base: str, peak: int | None
) -> dict[str, Any]:
    turns = [repeat[name] for repeat in repeats]
    first_tokens = [sec for turn in turns for sec in turn.ttft_sec]
    measured = [t.peak_memory_bytes for t in turns if t.peak_memory_bytes is not None]
    return {
        "images_per_sec": spread([_rate(turn) for turn in turns]),
        "ratio": spread([_rate(r[name]) / _rate(r[base]) for r in repeats if base in r]),
        "tokens_per_sec": spread([turn.output_tokens / turn.wall_sec for turn in turns]),
        "ttft_p50_sec": percentile(first_tokens, 50),
        "ttft_p95_sec": percentile(first_tokens, 95),
        "sec_per_image": {
            phase: statistics.median(turn.phases[phase] / turn.num_images for turn in turns)
            for phase in PHASES
        },
        "slots": turns[-1].slots,
        "peak_memory_bytes": max(measured, default=peak),
    }


def _rate(turn: Turn) -> float:
    return turn.num_images / turn.wall_sec


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of all do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
