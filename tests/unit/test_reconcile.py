"""The proof that nothing is lost or doubled, and what it says when something is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ReconcileError
from pipeline.reconcile import Tally, reconcile
from pipeline.records import CAPTIONS_SCHEMA, QUARANTINE_SCHEMA, SUMMARY_SCHEMA
from pipeline.rows import to_table
from pipeline.sink import Sink
from pipeline.sources import Shard


def shard(name: str, **given: object) -> Shard:
    return Shard(url=f"/in/{name}", name=name, format="parquet", **given)  # type: ignore[arg-type]


def summary(name: str, **counts: int) -> dict[str, object]:
    zeros = dict.fromkeys(("captions", "quarantined", "shard_rows", "markers"), 0)
    return {"shard": name} | zeros | counts


def tally_of(*rows: dict[str, object]) -> Tally:
    """Each row in a table of its own, as it comes from a part of its own."""
    tally = Tally()
    for row in rows:
        tally.add(to_table([row], SUMMARY_SCHEMA))
    return tally


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    """Three captions of a.parquet and b.parquet, one row of b.parquet in quarantine."""
    sink = Sink(url=str(tmp_path))
    store(sink, "captions", "part-0.parquet", "a.parquet#0", "a.parquet#1")
    store(sink, "captions", "part-1.parquet", "b.parquet#0")
    store(sink, "quarantine", "part-1.parquet", "b.parquet#1")
    return sink


def store(sink: Sink, kind: str, part: str, *ids: str) -> None:
    schema = CAPTIONS_SCHEMA if kind == "captions" else QUARANTINE_SCHEMA
    rows = [{"image_id": i, "shard": i.partition("#")[0]} for i in ids]
    sink.write(kind, part, to_table(rows, schema), {})


GOOD = (
    summary("a.parquet", captions=1),
    summary("a.parquet", captions=1, shard_rows=2, markers=1),
    summary("b.parquet", captions=1, quarantined=1),
    summary("b.parquet", shard_rows=2, markers=1),
)
SHARDS = [shard("a.parquet"), shard("b.parquet")]


def refusal(tally: Tally, shards: list[Shard], sink: Sink) -> str:
    with pytest.raises(ReconcileError) as caught:
        reconcile(tally, shards, sink)
    assert caught.value.exit_code == 1
    return str(caught.value)


def test_rows_that_add_up_pass(sink: Sink) -> None:
    tally = tally_of(*GOOD)
    reconcile(tally, SHARDS, sink)
    assert [tally.total(n) for n in ("captions", "quarantined", "shard_rows", "markers")] == [
        *(3, 1, 4, 2)
    ]


def test_a_lost_row_is_named_by_its_shard(sink: Sink) -> None:
    line = refusal(tally_of(*GOOD[1:]), SHARDS, sink)
    assert line == "rows do not add up: a.parquet: 2 rows in, 1 stored"


def test_a_lost_marker_is_named_by_its_shard(sink: Sink) -> None:
    line = refusal(tally_of(*GOOD[:3]), SHARDS, sink)
    assert line == "rows do not add up: b.parquet: read to its end 0 times, planned 1"


def test_a_shard_that_was_never_read_is_named(sink: Sink) -> None:
    line = refusal(tally_of(*GOOD), [*SHARDS, shard("c.parquet")], sink)
    assert line == "rows do not add up: c.parquet: read to its end 0 times, planned 1"


def test_a_shard_that_nobody_planned_is_named(sink: Sink) -> None:
    line = refusal(tally_of(*GOOD), SHARDS[:1], sink)
    assert line == "rows do not add up: b.parquet: read to its end 1 times, planned 0"


def test_many_problems_are_counted_not_listed(sink: Sink) -> None:
    more = [shard(f"c{i}.parquet") for i in range(8)]
    line = refusal(tally_of(*GOOD), [*SHARDS, *more], sink)
    assert "c4.parquet" in line and "c5.parquet" not in line
    assert line.endswith(" and 3 more")


@pytest.mark.parametrize("kind", ["captions", "quarantine"])
def test_storage_that_holds_more_than_was_reported_is_named(sink: Sink, kind: str) -> None:
    store(sink, kind, "part-9.parquet", "b.parquet#9")
    line = refusal(tally_of(*GOOD), SHARDS, sink)
    assert line == f"{kind}: b.parquet: 2 rows are stored, 1 were reported"


def test_storage_that_lost_a_part_is_named(sink: Sink, tmp_path: Path) -> None:
    (tmp_path / "captions/part-0.parquet").unlink()
    line = refusal(tally_of(*GOOD), SHARDS, sink)
    assert line == "captions: a.parquet: 0 rows are stored, 2 were reported"


def test_rows_that_are_of_another_shard_do_not_make_up_for_it(sink: Sink) -> None:
    store(sink, "captions", "part-0.parquet", "a.parquet#0", "b.parquet#7")
    line = refusal(tally_of(*GOOD), SHARDS, sink)
    assert "a.parquet: 1 rows are stored, 2 were reported; b.parquet: 2 rows" in line


@pytest.mark.parametrize("kind", ["captions", "quarantine"])
def test_an_id_that_occurs_twice_is_named(sink: Sink, kind: str) -> None:
    """Within captions; and in captions and quarantine."""
    twice = {"captions": "part-0.parquet", "quarantine": "part-1.parquet"}[kind]
    ids = ["a.parquet#0", "a.parquet#0"] if kind == "captions" else ["b.parquet#0"]
    store(sink, kind, twice, *ids)
    assert refusal(tally_of(*GOOD), SHARDS, sink) == f"image_id occurs twice: {ids[0]}"


def test_chunks_of_one_folder_share_a_name(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path))
    store(sink, "captions", "part-0.parquet", "pics#0.jpg", "pics#1.jpg", "pics#2.jpg")
    chunks = [
        Shard(url="/in/pics", name="pics", format="images", files=files)
        for files in (("0.jpg", "1.jpg"), ("2.jpg",))
    ]
    first = summary("pics", captions=3, shard_rows=2, markers=1)
    reconcile(tally_of(first, summary("pics", shard_rows=1, markers=1)), chunks, sink)
    line = refusal(tally_of(first), chunks, sink)
    assert line == "rows do not add up: pics: read to its end 1 times, planned 2"


def test_an_empty_shard_adds_up(tmp_path: Path) -> None:
    reconcile(tally_of(summary("a.parquet", markers=1)), SHARDS[:1], Sink(url=str(tmp_path)))
