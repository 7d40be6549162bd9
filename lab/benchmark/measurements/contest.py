"""Interleaved runs: every contestant in every repeat, after one warm-up each.

Ratios are taken within a repeat, so that a machine that slows down slows both sides. A contestant
that runs out of device memory is a result, not a failure: it is noted with the numbers and left out
of what follows.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from lab.benchmark.contestants.answers import PHASES, Answer, Contestant

Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One contestant in one repeat, over all images.

    Attributes:
        phases: seconds by phase, over all images.
        ttft_sec: of each image.
        slots: texts decoded together.
        peak_memory_bytes: on the device; None on a CPU, where it is measured apart.
    """

    wall_sec: float
    num_images: int
    output_tokens: int
    phases: dict[str, float]
    ttft_sec: list[float]
    slots: int
    peak_memory_bytes: int | None = None

    @classmethod
    def of(cls, answers: Sequence[Answer], wall_sec: float, *, slots: int) -> Turn:
        return cls(
            wall_sec=wall_sec,
            num_images=len(answers),
            output_tokens=sum(len(answer.token_ids) for answer in answers),
            phases={phase: sum(getattr(a, phase) for a in answers) for phase in PHASES},
            ttft_sec=[answer.ttft_sec for answer in answers],
            slots=slots,
            peak_memory_bytes=_peak(),
        )


@dataclass(kw_only=True)
class Results:
    """Everything measured so far: `repeats[i][name]`, and why those in `failed` are missing."""

    repeats: list[dict[str, Turn]] = field(default_factory=list)
    failed: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        repeats = [{name: asdict(turn) for name, turn in r.items()} for r in self.repeats]
        return {"repeats": repeats, "failed": self.failed}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Results:
        repeats = [{name: Turn(**turn) for name, turn in r.items()} for r in content["repeats"]]
        return cls(repeats=repeats, failed=dict(content["failed"]))


class Measurement:
    """Runs contestants in turns.

    Args:
        warm_up: images of the warm-up, a full batch of the largest contestant.
        exclusive: only the contestant whose turn it is holds memory beside the weights; it is
            opened and warmed up anew for each turn. Otherwise all stay open.
        save: called with all results after every repeat.
    """

    def __init__(
        self,
        contestants: Mapping[str, Contestant],
        images: Sequence[bytes],
        *,
        warm_up: int = 8,
        exclusive: bool = False,
        save: Callable[[Results], None] = lambda results: None,
        log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        clock: Clock = time.perf_counter,
    ) -> None:
        self._contestants = contestants
        self._images = images
        self._warm_up = images[:warm_up]
        self._exclusive = exclusive
        self._save, self._log, self._clock = save, log, clock
        self._opened: set[str] = set()

    def run(self, repeats: int, results: Results | None = None) -> Results:
        """`results`, continued to this many repeats."""
        results = results or Results()
        started, before = self._clock(), len(results.repeats)
        try:
            while (done := len(results.repeats)) < repeats:
                self._log(f"repeat {done + 1} of {repeats}")
                results.repeats.append(self._repeat(results.failed))
                self._save(results)
                each = (self._clock() - started) / (done + 1 - before)
                self._log(f"about {each * (repeats - done - 1) / 60:.0f} min left")
        finally:
            for name in list(self._opened):
                self._close(name)
        return results

    def _repeat(self, failed: dict[str, dict[str, Any]]) -> dict[str, Turn]:
        turns = {}
        for name in self._contestants:
            if name in failed:
                continue
            turn = self._attempt(name)
            if isinstance(turn, Turn):
                turns[name] = turn
                self._log(f"  {name}: {turn.num_images / turn.wall_sec:.3g} images/s")
            else:
                failed[name] = turn
                self._log(f"  {name}: {turn['reason']}")
        return turns

    def _attempt(self, name: str) -> Turn | dict[str, Any]:
        """The turn, or why there is none."""
        try:
            return self._turn(name)
        except torch.OutOfMemoryError as exc:
            reason = _out_of_memory(exc)
        # Only now that the exception is gone are the tensors of its frames.
        self._close(name)
        return reason

    def _turn(self, name: str) -> Turn:
        contestant = self._contestants[name]
        if name not in self._opened:
            self._opened.add(name)
            contestant.open()
            contestant(self._warm_up)
        _reset_peak()
        started = self._clock()
        answers = contestant(self._images)
        turn = Turn.of(answers, self._clock() - started, slots=contestant.slots)
        if self._exclusive:
            self._close(name)
        return turn

    def _close(self, name: str) -> None:
        if name in self._opened:
            self._opened.remove(name)
            self._contestants[name].close()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _out_of_memory(exc: torch.OutOfMemoryError) -> dict[str, Any]:
    detail = str(exc).partition(" If reserved")[0]
    return {"reason": "out of memory", "detail": detail, "peak_memory_bytes": _peak()}


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int | None:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
