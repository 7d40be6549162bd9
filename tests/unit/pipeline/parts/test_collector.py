"""Parts are closed by rows or by time, and what is finished is stored however a job ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from pipeline.parts.collector import PartCollector
from pipeline.rows.errors import StorageError
from pipeline.rows.row import to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA

Write = Callable[[pa.Table], pa.Table]


def rows(*names: str) -> pa.Table:
    return to_table([{"image_id": name, "text": "a disc"} for name in names], ANSWERED_SCHEMA)


def marker(count: int) -> pa.Table:
    return to_table([{"shard": "a", "shard_rows": count}], ANSWERED_SCHEMA)


class Parts:
    """What was written, in order; and when the ledger was told."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.written: list[list[str]] = []
        self.told: list[pa.Table] = []
        self.fail_at = fail_at

    def write(self, table: pa.Table) -> pa.Table:
        if len(self.written) == self.fail_at:
            raise StorageError("the disk is full")
        self.written.append(table["image_id"].to_pylist())
        return table

    def collector(self, **settings: Any) -> PartCollector:
        given: dict[str, Any] = {"rows_per_part": 4, "part_sec": 60.0, "grace_sec": 5.0}
        return PartCollector(write=self.write, store=self.told.append, **(given | settings))


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not holds():
        time.sleep(0.005)
    return holds()


@pytest.fixture
def parts() -> Iterator[Parts]:
    before = threading.active_count()
    yield Parts()
    assert eventually(lambda: threading.active_count() == before)


def test_a_part_is_closed_when_it_has_its_rows(parts: Parts) -> None:
    with parts.collector() as collector:
        for table in (rows("a", "b", "c"), rows("d", "e"), rows(*"fghijk"), rows("l")):
            collector.add(table)
        assert eventually(lambda: collector.rows_stored == 12)
        assert parts.written == [list("abcd"), list("efgh"), list("ijkl")]
    assert len(parts.told) == 3


def test_the_rest_is_written_at_the_end(parts: Parts) -> None:
    with parts.collector() as collector:
        collector.add(rows(*"abcdef"))
    assert parts.written == [list("abcd"), list("ef")]
    assert collector.rows_stored == 6


def test_a_part_is_closed_by_time_while_nothing_comes(parts: Parts) -> None:
    with parts.collector(part_sec=0.1) as collector:
        collector.add(rows("a"))
        time.sleep(0.05)
        collector.add(rows("b"))
        assert parts.written == []
        assert eventually(lambda: parts.written == [["a", "b"]], 1.0)
        collector.add(rows("c"))
        assert eventually(lambda: parts.written[1:] == [["c"]], 1.0)


def test_rows_that_come_fast_fill_their_parts(parts: Parts) -> None:
    """The time of a part begins with its own first row, not with that of the part before."""
    with parts.collector(part_sec=0.2) as collector:
        for number in range(120):
            collector.add(rows(str(number)))
            time.sleep(0.005)
    assert {len(names) for names in parts.written} == {4}


def test_markers_are_no_rows(parts: Parts) -> None:
    with parts.collector() as collector:
        collector.add(marker(3))
        assert collector.first_at is None
        collector.add(rows("a"))
        assert collector.first_at is not None
    assert collector.rows_stored == 1
    assert parts.written == [[None, "a"]]


@pytest.mark.parametrize("ending", [KeyboardInterrupt, StorageError])
def test_what_is_finished_is_stored_when_the_job_ends_early(
    parts: Parts, ending: type[BaseException]
) -> None:
    def job() -> None:
        with parts.collector() as collector:
            collector.add(rows("a", "b"))
            raise ending("now")

    with pytest.raises(ending, match="now"):
        job()
    assert parts.written == [["a", "b"]] and len(parts.told) == 1


def test_a_storage_that_hangs_is_waited_for_no_longer_than_asked() -> None:
    let_go, parts = threading.Event(), Parts()

    def hang(table: pa.Table) -> pa.Table:
        let_go.wait(30)
        return table

    collector = PartCollector(
        write=hang, store=parts.told.append, rows_per_part=4, part_sec=60.0, grace_sec=0.2
    )
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), collector:
        collector.add(rows("a"))
        raise KeyboardInterrupt
    assert 0.2 <= time.monotonic() - started < 5
    let_go.set()
    assert eventually(lambda: len(parts.told) == 1)


def test_what_writing_raises_ends_the_job(parts: Parts) -> None:
    parts.fail_at = 1
    with pytest.raises(StorageError, match="full"), parts.collector() as collector:
        for number in range(1000):
            collector.add(rows(str(number)))
        pytest.fail("all were taken")
    assert parts.written == [list("0123")]


def test_what_writing_raises_at_the_very_end_is_raised(parts: Parts) -> None:
    parts.fail_at = 0
    with pytest.raises(StorageError, match="full"), parts.collector() as collector:
        collector.add(rows("a"))
    assert collector.rows_stored == 0


def test_the_stages_wait_for_a_slow_storage() -> None:
    let_go, parts = threading.Event(), Parts()
    most = 0

    def slow(table: pa.Table) -> pa.Table:
        let_go.wait(30)
        return parts.write(table)

    collector = PartCollector(
        write=slow, store=parts.told.append, rows_per_part=2, part_sec=60.0, grace_sec=5.0
    )
    added: list[int] = []

    def feed() -> None:
        for number in range(50):
            collector.add(rows(str(number)))
            added.append(number)

    with collector:
        feeder = threading.Thread(target=feed)
        feeder.start()
        time.sleep(0.2)
        most = len(added)
        let_go.set()
        feeder.join()
    assert most <= 4 * 2 + 2 + 1
    assert sum(map(len, parts.written)) == 50
