"""Wall-clock training schedules which survive a restart."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

__all__ = ["StageClock", "cosine_with_warmup", "load_checkpoint", "save_checkpoint"]


class StageClock:
    """Seconds a stage has trained, restarts included.

    Each lap adds at most `max_lap_sec`, so that compiling or waiting for another process does not
    use up the schedule.
    """

    def __init__(self, limit_sec: float, elapsed_sec: float, max_lap_sec: float = 20.0) -> None:
        self.limit_sec = limit_sec
        self.elapsed_sec = elapsed_sec
        self._max_lap_sec = max_lap_sec
        self._last = time.monotonic()

    def lap(self) -> float:
        """Counts the time since the last lap; returns the progress, 1.0 at the end."""
        now = time.monotonic()
        self.elapsed_sec += min(now - self._last, self._max_lap_sec)
        self._last = now
        return min(1.0, self.elapsed_sec / self.limit_sec)


def cosine_with_warmup(step: int, progress: float, warmup_steps: int) -> float:
    """Share of the peak learning rate: linear over the first steps, then a cosine to zero."""
    return min(1.0, (step + 1) / warmup_steps) * 0.5 * (1.0 + math.cos(math.pi * progress))


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint beside `path` and moves it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint at `path`, or None when there is none yet."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
