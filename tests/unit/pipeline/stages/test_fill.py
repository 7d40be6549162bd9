"""Rows that wait are given the caption of their first: when it is there, and as it may pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.copies.claims import Asked, Likeness
from pipeline.copies.registry import Registry
from pipeline.parts.sink import WAITING, Sink
from pipeline.rows.errors import ReconcileError
from pipeline.rows.row import to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA
from pipeline.stages import fill as fill_module
from pipeline.stages.fill import FillStage
from tests.support.one_run import hold, writer

Row = dict[str, Any]
SHA = {name: name * 64 for name in "abc"}


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    sink = Sink(url=str(tmp_path))
    hold(sink, "1")
    return sink


def stage(sink: Sink, registry: Registry, *rejected: str) -> FillStage:
    return FillStage(
        sink=sink,
        registry=registry,
        write=writer(sink, hold(sink, "1")),
        rejected=frozenset(rejected),
        rows_per_part=4,
    )


def asked(row: Row) -> Asked:
    return Asked(row["sha256"], row["prompt"], row["image_id"])


def row(image_id: str, content: str, **more: Any) -> Row:
    names = {"image_id": image_id, "shard": "s", "ledger_id": "s", "key": image_id}
    return names | {"sha256": SHA[content], "prompt": "p"} | more


def first(image_id: str, content: str, **more: Any) -> Row:
    columns = {"text": f"of {image_id}", "flags": ["loop"], "width": 30, "height": 20}
    return row(image_id, content, **columns, visual_tokens_kept=7, phash=-5, **more)


def store(sink: Sink, registry: Registry, fill: FillStage, *rows: Row) -> list[Row]:
    """What the write stage does with the rows; what the ledger is told by then."""
    write = writer(sink, hold(sink, "1"), registry=registry)
    summary = write(to_table(list(rows), ANSWERED_SCHEMA))
    return [told for table in fill.after(summary) for told in table.to_pylist()]


def rest(fill: FillStage) -> list[Row]:
    return [told for table in fill.rest() for told in table.to_pylist()]


def captions(sink: Sink) -> Mapping[str, Row]:
    return {r["image_id"]: r for t in sink.read("captions") for r in t.to_pylist()}


def test_a_copy_has_what_is_its_own_and_all_else_of_the_first(sink: Sink) -> None:
    registry = Registry()
    fill = stage(sink, registry)
    one = first("x", "a")
    number = registry.claim([asked(one)])[0].number
    assert [r["rows"] for r in store(sink, registry, fill, one, row("y", "a", first=number))] == [1]
    assert captions(sink).keys() == {"x"} and len(sink.parts(WAITING)) == 1
    (told,) = rest(fill)
    assert (told["ledger_id"], told["rows"]) == ("s", 1)
    assert told["path"].startswith("captions/") and sink.parts(WAITING) == []
    found = captions(sink)
    own = {"image_id": "y", "key": "y", "duplicate_of": "x"}
    assert found["y"] == found["x"] | own
    assert (found["y"]["text"], found["y"]["flags"], found["y"]["phash"]) == ("of x", ["loop"], -5)
    assert fill.counts == {"copied": 1}


def test_a_near_one_keeps_its_size_and_its_hash(sink: Sink) -> None:
    """So does what is the same as it byte for byte, and was never decoded."""
    registry = Registry(near=2)
    fill = stage(sink, registry)
    one, near, same = first("x", "a"), row("y", "b"), row("z", "b")
    numbers = [claim.number for claim in registry.claim([asked(one), asked(near), asked(same)])]
    registry.liken([Likeness(numbers[0], asked(one), -5, 30, 20)])
    assert registry.liken([Likeness(numbers[1], asked(near), -6, 15, 10)]) == [True]
    looks = {"phash": -6, "width": 15, "height": 10}
    waiting = [near | looks | {"first": numbers[1]}, same | {"first": numbers[2]}]
    store(sink, registry, fill, one, *waiting)
    rest(fill)
    for name in "yz":
        found = captions(sink)[name]
        assert {key: found[key] for key in looks} == looks
        assert (found["duplicate_of"], found["duplicate_distance"]) == ("x", 1)
        assert (found["text"], found["visual_tokens_kept"]) == ("of x", 7)
    assert fill.counts == {"copied": 2, "near": 2}


def test_a_caption_that_is_not_to_pass_now_is_not_copied(sink: Sink) -> None:
    registry = Registry()
    fill = stage(sink, registry, "loop", "empty")
    one = first("x", "a")
    number = registry.claim([asked(one)])[0].number
    store(sink, registry, fill, one, row("y", "a", first=number))
    rest(fill)
    (table,) = sink.read("quarantine")
    (bad,) = table.to_pylist()
    assert (bad["image_id"], bad["error_code"]) == ("y", "caption_rejected")
    assert bad["error_detail"] == "as x: loop: of x"
    assert fill.counts == {"quarantined": 1}


def test_some_are_filled_once_enough_wait_and_their_firsts_are_stored(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fill_module, "ROWS_AT_ONCE", 2)
    registry = Registry()
    fill = stage(sink, registry)
    one, other = first("x", "a"), first("y", "b")
    a, b = (claim.number for claim in registry.claim([asked(one), asked(other)]))
    assert len(store(sink, registry, fill, one, row("x1", "a", first=a))) == 1
    told = store(sink, registry, fill, row("x2", "a", first=a), row("y1", "b", first=b))
    # The part with y1 waits on, as y is under way.
    assert captions(sink).keys() == {"x", "x1"} and [r["rows"] for r in told] == [1]
    assert len(store(sink, registry, fill, other)) == 1
    assert [r["rows"] for r in rest(fill)] == [2]
    assert captions(sink).keys() == {"x", "x1", "x2", "y", "y1"}
    assert sink.parts(WAITING) == []


def test_a_first_that_was_never_stored_is_told(sink: Sink) -> None:
    registry = Registry()
    fill = stage(sink, registry)
    number = registry.claim([asked(first("x", "a"))])[0].number
    store(sink, registry, fill, row("y", "a", first=number))
    with pytest.raises(ReconcileError, match=r"^y: x, whose caption it gets, is not stored"):
        rest(fill)
    assert captions(sink) == {}


def test_statistics_of_the_batch_it_came_with_are_kept(sink: Sink) -> None:
    """Part names follow from the rows: filled, they would replace what was stored of them."""
    registry = Registry()
    fill = stage(sink, registry)
    one = first("x", "a")
    number = registry.claim([asked(one)])[0].number
    store(sink, registry, fill, one)
    store(sink, registry, fill, row("y", "a", first=number))
    before = sink.parts("stats")
    rest(fill)
    assert set(before) < set(sink.parts("stats")) and len(sink.parts("stats")) == 3


def test_what_a_first_carries_need_be_no_value_of_python(sink: Sink) -> None:
    """A day past year 9999 is none, and is the first's own anyway."""
    registry = Registry()
    fill = stage(sink, registry)
    one = first("x", "a")
    number = registry.claim([asked(one)])[0].number
    store(sink, registry, fill, one, row("y", "a", first=number))
    (path,) = sink.parts("captions")
    table = sink.read_part(path).append_column("day", pa.array([4_000_000], pa.date32()))
    sink.write(path, table, sink.metadata(path))
    rest(fill)
    texts = {t["image_id"][0].as_py(): t["text"][0].as_py() for t in sink.read("captions")}
    assert texts == {"x": "of x", "y": "of x"}
