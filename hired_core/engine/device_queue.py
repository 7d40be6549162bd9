"""One computation at a time on a device, whoever asks, in the order of asking."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class DeviceQueue:
    """Runs what it is given on a thread of its own.

    Threads that share a device hand in their work here. Running it on one thread, and not under a
    lock, keeps one set of OpenMP workers busy instead of one for each thread; and since asking
    orders, nobody starves. Memory peaks never add up.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="device")
        self._idle_sec = 0.0
        self._ended = time.monotonic()

    def run(self, work: Callable[[], T]) -> T:
        """Its result, or what it raises."""
        return self._executor.submit(self._timed, work).result()

    def take_idle_sec(self) -> float:
        """Seconds without work since the last call of this method."""
        idle, self._idle_sec = self._idle_sec, 0.0
        return idle

    def _timed(self, work: Callable[[], T]) -> T:
        self._idle_sec += time.monotonic() - self._ended
        try:
            return work()
        finally:
            self._ended = time.monotonic()
