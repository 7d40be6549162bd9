"""Numbers as the shapes of a drawing: bars of heights 0 to 1, and what stands at the axes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.report.reading.runs import Run

__all__ = [
    "Bar", "Chart", "Segment", "change_chart", "cost_chart", "length_chart", "segments",
    "throughput_chart",
]  # fmt: skip

_MOST_BARS: Final = 48
_NICE: Final = (1, 2, 5)


@dataclass(frozen=True)
class Bar:
    """A bar from 0 up to `height`, of 1; `note` is read out and shown when it is pointed at.

    Attributes:
        faint: drawn as what is less sure.
    """

    height: float
    note: str
    faint: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Bars side by side.

    Attributes:
        top: what stands at height 1.
        ticks: what stands below, from the left to the right end.
        about: what is drawn, for who does not see it.
    """

    bars: tuple[Bar, ...]
    top: str
    ticks: tuple[str, ...]
    about: str

    @property
    def step(self) -> float:
        """Width of one bar and its gap, of 1000."""
        return 1000 / max(1, len(self.bars))


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A part of a whole."""

    name: str
    count: int
    share: float
    kind: str


def segments(counts: Sequence[tuple[str, int, str]]) -> list[Segment]:
    """Of (name, count, kind); those without a count are left out."""
    total = sum(count for _, count, _ in counts)
    return [
        Segment(name=name, count=count, share=count / total, kind=kind)
        for name, count, kind in counts
        if count
    ]


def length_chart(lengths: npt.NDArray[np.int64], unit: str) -> Chart | None:
    """Of counts by length, those of the longest counted with longer ones; None without any."""
    there = np.flatnonzero(lengths)
    if not len(there):
        return None
    longest = len(lengths) - 1
    step = _step(int(there[-1]) + 1)
    bins = np.add.reduceat(lengths[: there[-1] + 1], np.arange(0, there[-1] + 1, step))
    notes = [_range(start * step, step, longest, unit) for start in range(len(bins))]
    last = (len(bins) - 1) * step + step - 1
    return Chart(
        bars=_bars(bins.tolist(), notes, "captions"),
        top=f"{int(bins.max()):,}",
        ticks=("0", f"{last // 2:,}", f"{last:,} {unit}"),
        about=f"captions by length in {unit}",
    )


def _step(span: int) -> int:
    """1, 2, 5, 10, ... so that there are no more than `_MOST_BARS` bars."""
    sizes = (nice * int(10**power) for power in range(12) for nice in _NICE)
    return next(size for size in sizes if math.ceil(span / size) <= _MOST_BARS)


def _range(start: int, step: int, longest: int, unit: str) -> str:
    end = start + step - 1
    if start <= longest <= end:
        return f"{start:,} {unit} and more"
    return f"{start:,} {unit}" if step == 1 else f"{start:,} to {end:,} {unit}"


def _bars(values: Sequence[float], notes: Sequence[str], unit: str) -> tuple[Bar, ...]:
    most = max(values) or 1
    return tuple(
        Bar(value / most, f"{note}: {value:,} {unit}")
        for value, note in zip(values, notes, strict=True)
    )


def throughput_chart(run: Run) -> Chart | None:
    """Images per second out of the language model, from a run's first batch to its last."""
    if not run.bins or run.ended <= run.started:
        return None
    first = int(run.started) // run.bin_sec
    times = Counter({index - first: count for index, count in run.bins.items()})
    step = _step(max(times) + 1)
    seconds = step * run.bin_sec
    num_bars = max(times) // step + 1
    sums = [sum(times[i] for i in range(n * step, (n + 1) * step)) for n in range(num_bars)]
    rates = [round(total / seconds, 3) for total in sums]
    notes = [f"{clock(n * seconds)} to {clock((n + 1) * seconds)}" for n in range(num_bars)]
    return Chart(
        bars=_bars(rates, notes, "images/s"),
        top=f"{max(rates):.3g} images/s",
        ticks=("0", clock(num_bars * seconds // 2), clock(num_bars * seconds)),
        about="images per second over the time of the run",
    )


def clock(seconds: float) -> str:
    """ "40 s", "3:20 min", "2:05 h"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def cost_chart(runs: Sequence[tuple[str, Run]]) -> Chart | None:
    """USD per 1000 images of (output, run), by time; None for fewer than two runs that tell it.

    Where the whole cost is not stored, the bar is faint and stands for busy seconds alone.
    """
    told = [(name, run, run.usd_per_1000, run.busy_usd_per_1000) for name, run in runs]
    known = [(name, run, usd, busy) for name, run, usd, busy in told if usd or busy][-_MOST_BARS:]
    if len(known) < 2:
        return None
    values = [usd if usd is not None else busy or 0.0 for _, _, usd, busy in known]
    most = max(values) or 1
    bars = tuple(
        Bar(value / most, f"{run.when}, {name}: {_usd(value, usd is None)}", faint=usd is None)
        for value, (name, run, usd, _) in zip(values, known, strict=True)
    )
    first, last = known[0][1].when, known[-1][1].when
    return Chart(
        bars=bars, top=f"USD {most:.4f}", ticks=(first, last), about="USD per 1000 images, by run"
    )


def _usd(value: float, busy_alone: bool) -> str:
    return f"USD {value:.4f} per 1000 images" + (", busy seconds alone" if busy_alone else "")


def change_chart(changes: Sequence[float]) -> Chart | None:
    """Pairs by how much changed, in steps of 5 %; None without any."""
    if not changes:
        return None
    counts = Counter(min(19, int(change * 20)) for change in changes)
    values = [counts[index] for index in range(20)]
    notes = [f"{5 * index} to {5 * index + 5} % changed" for index in range(20)]
    return Chart(
        bars=_bars(values, notes, "pairs"),
        top=f"{max(values):,}",
        ticks=("0 %", "50 %", "100 % of the words changed"),
        about="pairs of texts by the share of words that changed",
    )


def shares(counts: Mapping[str, int]) -> list[tuple[str, int, float]]:
    """(name, count, share of the largest), the most first."""
    most = max(counts.values(), default=1) or 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(name, count, count / most) for name, count in ordered]
