"""One computation at a time on a device, whoever asks, in the order of asking."""

from __future__ import annotations

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

    def run(self, work: Callable[[], T]) -> T:
        """Its result, or what it raises."""
        return self._executor.submit(work).result()
