"""One run at a time: refused while another lives, taken over when it is gone, fenced off then."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline.ledger import lease as lease_module
from pipeline.ledger.lease import Fence, Lease
from pipeline.parts.sink import LOCK
from pipeline.rows.errors import BusyError, StorageError
from pipeline.storage.store import Store

HOLDER = """
import io, sys, time
from pipeline.ledger.lease import Lease
from pipeline.storage.store import Store
with Lease(store=Store(url=sys.argv[1]), run_id="held", log=io.StringIO(), renew_sec=0.05):
    print("holding", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(url=str(tmp_path / "out"))


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "_LOOK_SEC", 0.01)


@pytest.fixture
def holder(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process of this machine that holds the output."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, store.url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def lease(store: Store, run_id: str = "new", lease_sec: float = 20.0, **more: Any) -> Lease:
    return Lease(store=store, run_id=run_id, log=io.StringIO(), lease_sec=lease_sec, **more)


def mark(store: Store) -> dict[str, Any]:
    found = store.get_json(LOCK)
    assert found is not None
    return found


def elsewhere(store: Store, beat: int = 7) -> dict[str, Any]:
    """The mark of a run on another machine."""
    content = {"run_id": "far", "beat": beat, "host": "h2", "boot": "b2", "pid": 1, "since": "5"}
    store.put_json(LOCK, content)
    return content


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_free_output_is_held_renewed_and_left_without_a_trace(store: Store) -> None:
    with lease(store, renew_sec=0.01) as held:
        first = mark(store)
        assert (first["run_id"], first["pid"]) == ("new", os.getpid())
        held.fence.check()
        wait_until(lambda: mark(store)["beat"] > first["beat"] + 2)
        assert mark(store) | {"beat": 0} == first | {"beat": 0}
        assert held.log.getvalue() == ""  # type: ignore[attr-defined]
    assert store.names("_ledger") == []
    with pytest.raises(StorageError, match="another run has taken over"):
        held.fence.check()


def test_a_second_run_is_refused_while_the_first_renews(
    store: Store, holder: subprocess.Popen[str]
) -> None:
    second = lease(store)
    with pytest.raises(BusyError, match=r"^output: run held on .+ is writing to it; try again"):
        second.__enter__()
    assert second.log.getvalue().count("\n") == 1  # type: ignore[attr-defined]
    assert mark(store)["run_id"] == "held"


def test_the_mark_of_a_process_that_was_killed_is_taken_at_once(
    store: Store, holder: subprocess.Popen[str]
) -> None:
    """Even before anybody has collected its exit, when it is a zombie."""
    holder.kill()
    wait_until(lambda: lease_module._is_gone(mark(store)))
    with lease(store, lease_sec=3600.0):
        assert mark(store)["run_id"] == "new"
    assert not store.exists(LOCK)


def test_a_run_that_ends_while_another_waits_for_it_makes_way(
    store: Store, holder: subprocess.Popen[str]
) -> None:
    stopped = Store(url=store.url)
    os.kill(holder.pid, 19)  # SIGSTOP: it lives and renews no more
    wait_until(lambda: stat(holder.pid) == "T")
    waiting = Watched(url=store.url, on_second_look=holder.kill)
    with lease(waiting, lease_sec=3600.0):
        assert mark(stopped)["run_id"] == "new"


def stat(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@dataclass(frozen=True, kw_only=True)
class Watched(Store):
    """Something happens after the lock was looked at for the first time."""

    on_second_look: Any
    looks: list[None] = field(default_factory=list)

    def get(self, name: str) -> bytes | None:
        self.looks.append(None)
        if len(self.looks) == 2:
            self.on_second_look()
        return super().get(name)


def test_a_process_of_the_same_number_is_another(store: Store) -> None:
    """After a restart of the container: the pid lives, but began at another time."""
    with lease(store):
        mine = mark(store)
    store.put_json(LOCK, mine | {"run_id": "old", "since": "1"})
    with lease(store, lease_sec=3600.0):
        assert mark(store)["run_id"] == "new"


def test_a_mark_of_another_machine_that_stands_still_is_taken_after_a_while(store: Store) -> None:
    elsewhere(store)
    started = time.monotonic()
    with lease(store, lease_sec=0.2) as held:
        assert time.monotonic() - started >= 0.2
        told = held.log.getvalue()  # type: ignore[attr-defined]
        assert told == "run far on h2 may be writing to the output; waiting to see\n"
        assert mark(store)["run_id"] == "new"


def test_a_mark_of_another_machine_that_moves_is_respected(store: Store) -> None:
    elsewhere(store, beat=7)
    moving = Watched(url=store.url, on_second_look=lambda: elsewhere(store, beat=8))
    with pytest.raises(BusyError, match="run far on h2 is writing to it"), lease(moving):
        pytest.fail("held")
    assert mark(store)["run_id"] == "far"


def test_a_mark_that_goes_makes_way(store: Store) -> None:
    elsewhere(store)
    leaving = Watched(url=store.url, on_second_look=lambda: store.remove(LOCK))
    with lease(leaving, lease_sec=3600.0):
        assert mark(store)["run_id"] == "new"


def test_of_two_that_come_at_once_the_last_to_write_goes_on(store: Store) -> None:
    """The other had looked before, and finds out when it looks again."""
    faster = lease(store, "faster")
    with lease(Raced(url=store.url, before_writing=[faster.__enter__]), "slower") as slower:
        slower.fence.check()
        with pytest.raises(StorageError, match="another run has taken over"):
            faster.fence.check()
        faster.__exit__()
        assert mark(store)["run_id"] == "slower"


def test_a_run_that_is_overtaken_as_it_begins_does_not_begin(store: Store) -> None:
    racing = Watched(url=store.url, on_second_look=lambda: elsewhere(store))
    with pytest.raises(StorageError, match="another run has taken over"), lease(racing):
        pytest.fail("held")
    assert mark(store)["run_id"] == "far"


@dataclass(frozen=True, kw_only=True)
class Raced(Store):
    """Something happens after it has looked and before it writes."""

    before_writing: list[Any]

    def put(self, name: str, data: bytes) -> None:
        while self.before_writing:
            self.before_writing.pop()()
        super().put(name, data)


def test_a_run_that_lost_the_output_neither_renews_nor_removes_the_mark(store: Store) -> None:
    watched = Watched(url=store.url, on_second_look=lambda: None)
    with lease(watched, renew_sec=0.005) as held:
        theirs = elsewhere(store)
        with pytest.raises(StorageError, match="another run has taken over"):
            held.fence.check()
        turns = len(watched.looks) + 10  # of the renewing thread
        wait_until(lambda: len(watched.looks) > turns)
        assert mark(store) == theirs
    assert mark(store) == theirs


def test_a_storage_that_fails_for_a_while_does_not_end_the_lease(tmp_path: Path) -> None:
    store = Failing(url=str(tmp_path / "out"))
    with lease(store, renew_sec=0.005):
        before = mark(store)["beat"]
        store.broken.append(None)
        wait_until(lambda: len(store.broken) > 3)
        store.broken.clear()
        wait_until(lambda: mark(store)["beat"] > before + 2)


@dataclass(frozen=True, kw_only=True)
class Failing(Store):
    """Fails, and counts how often, as long as `broken` is not empty."""

    broken: list[None] = field(default_factory=list)

    def put(self, name: str, data: bytes) -> None:
        if self.broken:
            self.broken.append(None)
            raise StorageError("cannot write")
        super().put(name, data)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"run_id": "x"}', b"\xff"])
def test_a_lock_that_does_not_read_is_one_line(store: Store, data: bytes) -> None:
    store.put(LOCK, data)
    for act in (lease(store, lease_sec=0.05).__enter__, Fence(store=store, run_id="r").check):
        with pytest.raises(StorageError) as caught:
            act()
        assert "\n" not in str(caught.value)


def test_the_mark_holds_nothing_secret(store: Store) -> None:
    with lease(store):
        content = json.loads(store.get(LOCK) or b"")
    assert content.keys() == {"run_id", "beat", "host", "boot", "pid", "since"}
