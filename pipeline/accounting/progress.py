"""How far the job is, told while it runs.

Stages report counts to one small actor and never wait for it; the driver prints a line every few
seconds. Losing the actor loses nothing but the line.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

EVERY_SEC = 5.0


class ProgressCounter:
    """Counts by name, e.g. "read", "captioned", "quarantined"."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, counts: dict[str, int]) -> None:
        self._counts.update(counts)

    def counts(self) -> dict[str, int]:
        return dict(self._counts)


@dataclass(frozen=True, kw_only=True)
class ProgressReporter:
    """What a stage holds: reports without waiting. Without a counter it does nothing."""

    counter: Any = None

    def add(self, **counts: int) -> None:
        if self.counter is not None:
            self.counter.add.remote(counts)


class ProgressPrinter:
    """Prints a line every `EVERY_SEC` from a thread, between `__enter__` and `__exit__`."""

    def __init__(
        self,
        counter: Any,
        *,
        total_rows: int | None,
        num_shards: int,
        usd_per_sec: float,
        out: TextIO,
        rows_stored: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counter = counter
        self.total_rows = total_rows
        self.num_shards = num_shards
        self.usd_per_sec = usd_per_sec
        self.out = out
        self.rows_stored = rows_stored
        self.clock = clock
        self.started = clock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> ProgressPrinter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        import ray

        while not self._stop.wait(EVERY_SEC):
            try:
                counts = ray.get(self.counter.counts.remote(), timeout=EVERY_SEC)
            except ray.exceptions.RayError:
                continue
            print(self.line(counts), file=self.out, flush=True)

    def line(self, counts: dict[str, int]) -> str:
        """E.g. "captioned 320/1,000 · quarantined 4 · stored 260 · shards read 3/12 · ..."."""
        elapsed = self.clock() - self.started
        captioned, bad = counts.get("captioned", 0), counts.get("quarantined", 0)
        copies = counts.get("duplicates", 0)
        done = captioned + bad + copies
        total = "" if self.total_rows is None else f"/{self.total_rows:,}"
        parts = [
            f"captioned {captioned:,}{total}",
            f"quarantined {bad:,}",
            f"duplicates {copies:,}" if copies else "",
            f"stored {self.rows_stored():,}",
            f"shards read {counts.get('shards', 0):,}/{self.num_shards:,}",
            f"{done / elapsed:.1f} rows/s" if elapsed > 0 else "",
            f"{_clock(elapsed)} elapsed{self._remaining(done, elapsed)}",
            f"USD {elapsed * self.usd_per_sec:.2f}",
        ]
        return " · ".join(part for part in parts if part)

    def _remaining(self, done: int, elapsed: float) -> str:
        if not done or self.total_rows is None or done >= self.total_rows:
            return ""
        return f", about {_clock((self.total_rows - done) * elapsed / done)} left"


def _clock(seconds: float) -> str:
    minutes, secs = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"
