"""The ledger on storage: what is loaded is what was stored last, whatever was killed when."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.ledger.ledger import Ledger
from pipeline.ledger.records import ShardRecord
from pipeline.ledger.snapshots import (
    SEGMENT_SEC,
    SEGMENTS_PER_SNAPSHOT,
    LedgerLog,
    load_ledger,
    remove_ledger,
)
from pipeline.rows.errors import StorageError
from pipeline.storage.store import Store


def record(ledger_id: str, signature: str = "1") -> ShardRecord:
    return ShardRecord(ledger_id=ledger_id, name=ledger_id, signature=signature)


def writer(
    store: Store, run_id: str = "r", may_write: Callable[[], None] = lambda: None
) -> LedgerLog:
    """As a run begins: with what is there, and one snapshot of it."""
    ledger = load_ledger(store) or Ledger()
    made = LedgerLog(store=store, ledger=ledger, run_id=run_id, may_write=may_write)
    ledger.open_runs = (*ledger.open_runs, run_id)
    return made


def stored(store: Store) -> dict[str, str]:
    """Signature by ledger id."""
    ledger = load_ledger(store)
    return {} if ledger is None else {r.ledger_id: r.signature for r in ledger.records()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(url=str(tmp_path / "out"))


def files(store: Store) -> list[str]:
    return [name.removeprefix("_ledger/") for name in store.names("_ledger")]


def test_nothing_stored_is_none(store: Store) -> None:
    assert load_ledger(store) is None


def test_a_snapshot_and_segments_load_as_they_were(store: Store) -> None:
    first = writer(store)
    first.put(record("a"))
    first.put(record("b"))
    first.snapshot()
    first.put(record("b", "2"))
    first.flush()
    first.put(record("c"))
    first.put(record("b", "3"))
    first.flush()
    assert files(store) == [
        "000001-000000-r.snapshot.parquet",
        "000001-000001-r.segment.parquet",
        "000001-000002-r.segment.parquet",
    ]
    ledger = load_ledger(store)
    assert ledger is not None and ledger.open_runs == ("r",)
    assert stored(store) == {"a": "1", "b": "3", "c": "1"}
    segment = pq.read_table(io.BytesIO(store.get("_ledger/000001-000001-r.segment.parquet") or b""))
    assert segment["ledger_id"].to_pylist() == ["b"]  # what changed, not all there is


def test_the_next_run_goes_on_from_there_and_deletes_what_it_replaces(store: Store) -> None:
    first = writer(store, "r1")
    first.snapshot()
    first.put(record("a"))
    first.flush()
    second = writer(store, "r2")
    second.put(record("b"))
    second.snapshot()
    assert files(store) == ["000002-000000-r2.snapshot.parquet"]
    assert stored(store) == {"a": "1", "b": "1"}
    ledger = load_ledger(store)
    assert ledger is not None and ledger.open_runs == ("r1", "r2")


def test_whatever_a_killed_predecessor_still_writes_counts_for_nothing(store: Store) -> None:
    """Its segments, and even a snapshot of its own, which deletes nothing of the successor's."""
    old = writer(store, "zz")
    old.put(record("a"))
    old.snapshot()
    new = writer(store, "aa")
    new.put(record("a", "new"))
    new.snapshot()
    old.put(record("a", "stale"))
    old.flush()
    assert stored(store) == {"a": "new"}
    old.snapshot()
    assert stored(store) == {"a": "new"}
    new.put(record("b"))
    new.flush()
    assert stored(store) == {"a": "new", "b": "1"}
    new.snapshot()
    assert files(store) == ["000002-000002-aa.snapshot.parquet"]


def test_many_flushes_become_a_snapshot(store: Store) -> None:
    busy = writer(store)
    busy.snapshot()
    for number in range(3 * SEGMENTS_PER_SNAPSHOT):
        busy.put(record(f"s{number:03}"))
        busy.flush()
        assert len(files(store)) <= SEGMENTS_PER_SNAPSHOT + 1
    assert len(stored(store)) == 3 * SEGMENTS_PER_SNAPSHOT
    before = files(store)
    busy.flush()
    assert files(store) == before  # nothing has changed since


def test_segments_are_written_now_and_then(store: Store) -> None:
    now = 0.0
    ticking = writer(store)
    ticking.clock = lambda: now
    ticking.snapshot()
    ticking.put(record("a"))
    now = SEGMENT_SEC - 1
    ticking.tick()
    assert stored(store) == {}
    now = SEGMENT_SEC
    ticking.tick()
    assert stored(store) == {"a": "1"}


def test_a_run_that_has_lost_its_lock_writes_nothing(store: Store) -> None:
    def lost() -> None:
        raise StorageError("another run has taken over")

    first = writer(store)
    first.snapshot()
    before = files(store)
    first.may_write = lost
    first.put(record("a"))
    for write in (first.flush, first.snapshot):
        with pytest.raises(StorageError, match="another run has taken over"):
            write()
    assert files(store) == before


@pytest.mark.parametrize("kind", ["snapshot", "segment"])
@pytest.mark.parametrize("data", [b"", b"PAR1", b"garbage" * 50, None])
def test_a_file_that_does_not_read_is_one_line(store: Store, kind: str, data: bytes | None) -> None:
    first = writer(store)
    first.snapshot()
    first.put(record("a"))
    first.flush()
    name = next(name for name in store.names("_ledger") if kind in name)
    torn = (store.get(name) or b"")[:-9] if data is None else data
    store.put(name, torn)
    with pytest.raises(StorageError) as caught:
        load_ledger(store)
    line = str(caught.value)
    assert line.startswith(f"{name} of the output does not read") and "--repair" in line
    assert "\n" not in line


def test_removing_leaves_the_lock(store: Store) -> None:
    writer(store).snapshot()
    store.put("_ledger/lock.json", b"{}")
    remove_ledger(store)
    assert store.names("_ledger") == ["_ledger/lock.json"]


@dataclass(frozen=True, kw_only=True)
class Watched(Store):
    """Lets another run write between the listing and the reading of what was listed."""

    meanwhile: list[Callable[[], None]]

    def get(self, name: str) -> bytes | None:
        if self.meanwhile:
            self.meanwhile.pop()()
        return super().get(name)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_files_that_are_replaced_while_they_are_read(store: Store, times: int) -> None:
    other = writer(store)
    other.put(record("a"))
    other.snapshot()
    reading = Watched(url=store.url, meanwhile=[other.snapshot] * times)
    if times < 3:
        assert stored(reading) == {"a": "1"}
    else:
        with pytest.raises(StorageError, match="another run is writing to the output"):
            load_ledger(reading)


class Killed(BaseException):
    """No handler of the run does anything any more."""


@dataclass(frozen=True, kw_only=True)
class Mortal(Store):
    """Fails at the write or delete after so many, and ever after; `torn` ones do half of it."""

    left: list[None]

    def put(self, name: str, data: bytes) -> None:
        self._spend()
        super().put(name, data)

    def remove(self, name: str) -> None:
        self._spend()
        super().remove(name)

    def _spend(self) -> None:
        if not self.left:
            raise Killed
        self.left.pop()


def test_killed_at_any_write_the_ledger_is_as_before_or_after_it(tmp_path: Path) -> None:
    """A run that takes over, enters three changes, compacts and ends."""
    steps: list[Callable[[LedgerLog], None]] = [
        lambda w: w.snapshot(),
        lambda w: (w.put(record("a", "2")), w.flush())[1],
        lambda w: (w.put(record("b")), w.put(record("c")), w.flush())[2],
        lambda w: (w.put(record("c", "2")), w.snapshot())[1],
        lambda w: (w.put(record("d")), w.flush())[1],
    ]
    states = [
        {"a": "1"},
        {"a": "1"},
        {"a": "2"},
        {"a": "2", "b": "1", "c": "1"},
        {"a": "2", "b": "1", "c": "2"},
        {"a": "2", "b": "1", "c": "2", "d": "1"},
    ]
    deaths = 0
    for writes in range(100):
        whole = Store(url=str(tmp_path / str(writes)))
        before = writer(whole, "r1")
        before.snapshot()
        before.put(record("a"))
        before.flush()
        mortal = writer(Mortal(url=whole.url, left=[None] * writes), "r2")
        done = 0
        try:
            for step in steps:
                step(mortal)
                done += 1
        except Killed:
            deaths += 1
        assert stored(whole) in states[done : done + 2]
        following = writer(whole, "r3")
        following.snapshot()
        assert stored(whole) in states[done : done + 2]
        assert [name for name in files(whole) if "r3" not in name] == []
        if done == len(steps):
            break
    assert deaths == writes >= 9


def test_open_runs_are_forgotten_when_a_run_ends_well(store: Store) -> None:
    first = writer(store)
    first.snapshot()
    first.ledger.open_runs = ()
    first.put(replace(record("a"), complete=True))
    first.snapshot()
    ledger = load_ledger(store)
    assert ledger is not None and ledger.open_runs == ()
    assert ledger.facts("a") == (True, "1", None)
