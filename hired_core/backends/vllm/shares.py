"""How the seconds of an engine are shared out among the requests that it runs at once."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["ShareClock"]


class ShareClock:
    """Reads the seconds that each of the requests under way has had so far.

    Of every moment each has an equal part, so that over all requests the seconds add up to those in
    which the engine had any. For one thread.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_at = clock()
        self._share = 0.0
        self._running = 0

    def begin(self) -> float:
        """One request more; the reading that its seconds count from."""
        now = self.read()
        self._running += 1
        return now

    def end(self) -> None:
        """One less."""
        self.read()
        self._running -= 1

    def read(self) -> float:
        """Never decreases; stands still while nothing runs."""
        now = self._clock()
        if self._running:
            self._share += (now - self._read_at) / self._running
        self._read_at = now
        return self._share
