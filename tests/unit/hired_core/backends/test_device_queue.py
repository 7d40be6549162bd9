"""Work for a device: one at a time, in the order of asking, and back to who asked."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hired_core.backends.device_queue import DeviceQueue

PATIENCE_SEC = 30


def test_results_and_exceptions_reach_who_asked() -> None:
    queue = DeviceQueue()
    failure = ValueError("the odd ones")

    def work(number: int) -> int:
        if number % 2:
            raise failure
        return number * 10

    def ask(number: int) -> int | Exception:
        try:
            return queue.run(lambda: work(number))
        except ValueError as exc:
            return exc

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(100)))
    assert found == [failure if number % 2 else number * 10 for number in range(100)]


def test_one_at_a_time_on_one_thread() -> None:
    queue, inside, most, names = DeviceQueue(), 0, 0, set[int]()

    def work() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        names.add(threading.get_ident())
        sum(range(2000))  # Long enough for another thread to be scheduled.
        inside -= 1

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(queue.run, work) for _ in range(200)]:
            future.result(PATIENCE_SEC)
    assert (most, inside, len(names)) == (1, 0, 1)
    assert threading.get_ident() not in names


def test_in_the_order_of_asking() -> None:
    """Ten ask one after the other while the device is busy."""
    queue, order = DeviceQueue(), list[int]()
    busy, go_on = threading.Event(), threading.Event()

    def block() -> bool:
        busy.set()
        return go_on.wait(PATIENCE_SEC)

    with ThreadPoolExecutor(11) as threads:
        first = threads.submit(queue.run, block)
        assert busy.wait(PATIENCE_SEC)
        asked = []
        for number in range(10):
            asked.append(threads.submit(queue.run, lambda number=number: order.append(number)))
            while queue._executor._work_queue.qsize() <= number:
                assert not asked[-1].done()
        go_on.set()
        assert first.result(PATIENCE_SEC)
        for future in asked:
            future.result(PATIENCE_SEC)
    assert order == list(range(10))


def test_the_queue_goes_on_after_an_exception() -> None:
    queue = DeviceQueue()
    with pytest.raises(ZeroDivisionError):
        queue.run(lambda: 1 // 0)
    assert queue.run(lambda: 7) == 7
