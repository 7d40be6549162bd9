"""The lock: any number together, or one alone; every wait has a deadline."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from pipeline.stages.shared_lock import SharedLock

PATIENCE_SEC = 30


class Visitor:
    """A thread that goes through a lock, tells when it is inside, and leaves when it is let go."""

    def __init__(self, enter: Callable[[], AbstractContextManager[None]]) -> None:
        self.inside, self.let_go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._visit, args=(enter,), daemon=True)
        self.thread.start()

    def _visit(self, enter: Callable[[], AbstractContextManager[None]]) -> None:
        with enter():
            self.inside.set()
            assert self.let_go.wait(PATIENCE_SEC)

    def entered(self) -> bool:
        return self.inside.wait(PATIENCE_SEC)

    def leave(self) -> None:
        self.let_go.set()
        self.thread.join(PATIENCE_SEC)
        assert not self.thread.is_alive()


def waiting(lock: SharedLock, count: int) -> bool:
    """Whether so many threads come to wait at the lock."""
    deadline = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < deadline:
        with lock._changed:
            if len(lock._changed._waiters) == count:  # type: ignore[attr-defined]
                return True
    return False


@pytest.fixture
def lock() -> Iterator[SharedLock]:
    lock = SharedLock()
    yield lock
    assert (lock._inside, lock._alone) == (0, 0), "somebody is still inside"


def test_any_number_enter_together(lock: SharedLock) -> None:
    visitors = [Visitor(lock.shared) for _ in range(5)]
    assert all(visitor.entered() for visitor in visitors)
    for visitor in visitors:
        visitor.leave()


def test_who_is_alone_waits_until_all_have_left(lock: SharedLock) -> None:
    first, second = Visitor(lock.shared), Visitor(lock.shared)
    assert first.entered() and second.entered()
    lonely = Visitor(lock.exclusive)
    assert waiting(lock, 1)
    first.leave()
    assert waiting(lock, 1) and not lonely.inside.is_set()
    second.leave()
    assert lonely.entered()
    lonely.leave()


def test_nobody_enters_while_one_is_alone(lock: SharedLock) -> None:
    lonely = Visitor(lock.exclusive)
    assert lonely.entered()
    others = [Visitor(lock.shared), Visitor(lock.exclusive)]
    assert waiting(lock, 2)
    assert not any(other.inside.is_set() for other in others)
    lonely.leave()
    for other in others[::-1]:  # The one who wants to be alone comes first.
        assert other.entered()
        other.leave()


def test_nobody_enters_while_one_waits_to_be_alone(lock: SharedLock) -> None:
    """Or a stream of others would keep it waiting for ever."""
    first = Visitor(lock.shared)
    assert first.entered()
    lonely = Visitor(lock.exclusive)
    assert waiting(lock, 1)
    late = Visitor(lock.shared)
    assert waiting(lock, 2)
    assert not late.inside.is_set()
    first.leave()
    assert lonely.entered() and not late.inside.is_set()
    lonely.leave()
    assert late.entered()
    late.leave()


def test_several_who_want_to_be_alone_are_so_one_after_the_other(lock: SharedLock) -> None:
    first = Visitor(lock.shared)
    assert first.entered()
    lonely = [Visitor(lock.exclusive) for _ in range(3)]
    assert waiting(lock, 3)
    first.leave()
    for remaining in (2, 1, 0):
        assert waiting(lock, remaining)
        inside = first_inside(lonely)
        lonely.remove(inside)
        assert not any(visitor.inside.is_set() for visitor in lonely)
        inside.leave()


def first_inside(visitors: list[Visitor]) -> Visitor:
    deadline = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < deadline:
        for visitor in visitors:
            if visitor.inside.is_set():
                return visitor
    raise AssertionError("nobody came in")


@pytest.mark.parametrize("way", ["shared", "exclusive"])
def test_an_exception_releases_the_lock(lock: SharedLock, way: str) -> None:
    with pytest.raises(ValueError, match="inside"), getattr(lock, way)():
        raise ValueError("inside")
    visitor = Visitor(lock.exclusive)
    assert visitor.entered()
    visitor.leave()


def test_a_pickled_lock_arrives_as_a_new_one() -> None:
    """Whatever goes on at the one that was sent."""
    lock = SharedLock()
    with lock.exclusive():
        arrived = pickle.loads(pickle.dumps(lock))
        visitor = Visitor(arrived.shared)
        assert visitor.entered()
        visitor.leave()
