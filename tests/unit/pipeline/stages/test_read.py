"""Shards in, rows and one marker out; every table recorded once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.accounting.cost import Prices
from pipeline.ledger.work import Assignment
from pipeline.parts.sink import Sink
from pipeline.rows.idsum import IdSum
from pipeline.rows.row import to_table
from pipeline.rows.schemas import CAPTIONS_SCHEMA, ROW_SCHEMA
from pipeline.sources import ReadOptions, Shard
from pipeline.stages import ReadStage
from pipeline.stages.context import StageContext
from pipeline.stages.crash_tracker import CrashTracker
from pipeline.stages.read import COLUMN, MAX_READER_CRASHES
from tests.unit.pipeline.stages.test_guard import Local

CONTEXT = StageContext(run_id="r", prices=Prices(gpu_hour_usd=0, cpu_hour_usd=0))


def sink(folder: Path) -> Sink:
    return Sink(url=str(folder / "out"))


def shard(folder: Path, name: str, count: int) -> Shard:
    table = pa.table({"image": pa.array([b"x"] * count, type=pa.binary())})
    pq.write_table(table, folder / name)
    return Shard(url=str(folder / name), name=name, format="parquet")


def assigned(*assignments: Assignment) -> pa.Table:
    return pa.table({COLUMN: [each.to_json() for each in assignments]})


def test_rows_of_the_shards_that_are_named_each_with_its_marker(tmp_path: Path) -> None:
    stage = ReadStage(CONTEXT, ReadOptions(prompt="p", batch_rows=2), sink(tmp_path))
    named = (Assignment(shard=shard(tmp_path, name, rows)) for name, rows in (("a", 5), ("c", 0)))
    tables = list(stage(assigned(*named)))
    assert all(table.schema.equals(ROW_SCHEMA) for table in tables)
    rows = pa.concat_tables(tables).to_pylist()
    assert [row["image_id"] for row in rows if row["shard_rows"] is None] == [
        f"a#{i}" for i in range(5)
    ]
    markers = [(r["shard"], r["shard_rows"]) for r in rows if r["shard_rows"] is not None]
    assert markers == [("a", 5), ("c", 0)]


def test_rows_of_parts_are_left_out_those_of_other_shards_in_them_aside(tmp_path: Path) -> None:
    """`b#0` in the same part says nothing of `a`; a row stored twice is counted."""
    paths = ("captions/part-0.parquet", "captions/part-1.parquet")
    for path, ids in zip(paths, (["a#1", "b#0"], ["a#1", "a#4"]), strict=True):
        rows = [{"image_id": i, "shard": i.partition("#")[0]} for i in ids]
        sink(tmp_path).write(path, to_table(rows, CAPTIONS_SCHEMA), {})
    stage = ReadStage(CONTEXT, ReadOptions(prompt="p"), sink(tmp_path))
    given = assigned(Assignment(shard=shard(tmp_path, "a", 5), parts=paths))
    *rows, marker = pa.concat_tables(stage(given)).to_pylist()
    assert [row["key"] for row in rows] == ["0", "2", "3"]
    assert (marker["shard_rows"], marker["skipped_rows"], marker["doubled_rows"]) == (3, 2, 1)


def test_an_assignment_travels_as_json(tmp_path: Path) -> None:
    images = Shard(url="/in/a", name="a", format="images", files=("x", "y"), bucket="3/16")
    for each in (images, shard(tmp_path, "a", 1)):
        assignment = Assignment(shard=each, parts=("captions/part-0.parquet",))
        assert Assignment.from_json(assignment.to_json()) == assignment


def test_every_table_is_recorded_once_on_its_first_row(tmp_path: Path) -> None:
    stage = ReadStage(CONTEXT, ReadOptions(prompt="p", batch_rows=2), sink(tmp_path))
    given = assigned(Assignment(shard=shard(tmp_path, "a", 5)))
    tables = [table.to_pylist() for table in stage(given)]
    found = [[len(row["stats"] or []) for row in rows] for rows in tables]
    assert found == [[1, 0], [1, 0], [1], [1]]
    records = [json.loads(rows[0]["stats"][0]) for rows in tables]
    assert [record["num_images"] for record in records] == [2, 2, 1, 0]
    assert {record["stage"] for record in records} == {"read"}


def test_a_shard_that_killed_its_reader_is_not_opened_again(tmp_path: Path) -> None:
    """Begun and never ended as often as is borne; rows that are stored stay."""
    tracker = Local(actor=CrashTracker())
    context = replace(CONTEXT, crash_tracker=tracker)
    for _ in range(MAX_READER_CRASHES):
        tracker.begin_alone("read", "a")
    done = [f"a#{i}" for i in range(2)]
    part = to_table([{"image_id": i, "shard": "a"} for i in done], CAPTIONS_SCHEMA)
    sink(tmp_path).write("captions/part-r-0.parquet", part, {})
    assignment = Assignment(shard=shard(tmp_path, "a", 5), parts=("captions/part-r-0.parquet",))
    stage = ReadStage(context, ReadOptions(prompt="p"), sink(tmp_path))
    row, marker = pa.concat_tables(stage(assigned(assignment))).to_pylist()
    assert (row["image_id"], row["error_code"]) == ("a#!corrupt", "shard_kills_reader")
    stored = IdSum.of(done)
    assert (marker["skipped_rows"], marker["skipped_digest"]) == (stored.rows, stored.digest)
    assert marker["shard_rows"] == 1
    assert tracker.begin_alone("read", "a") == 0, "it has ended"
