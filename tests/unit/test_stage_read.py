"""Shards in, rows and one marker out; every table recorded once."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cost import Prices
from pipeline.records import ROW_SCHEMA
from pipeline.sources import ReadOptions, Shard
from pipeline.stages import ReadStage
from pipeline.stages.context import StageContext

CONTEXT = StageContext(run_id="r", prices=Prices(gpu_hour_usd=0, cpu_hour_usd=0))


def shard(folder: Path, name: str, count: int) -> Shard:
    table = pa.table({"image": pa.array([b"x"] * count, type=pa.binary())})
    pq.write_table(table, folder / name)
    return Shard(url=str(folder / name), name=name, format="parquet")


def index(*numbers: int) -> pa.Table:
    return pa.table({"index": pa.array(numbers, type=pa.int64())})


def test_rows_of_the_shards_that_are_named_each_with_its_marker(tmp_path: Path) -> None:
    shards = (shard(tmp_path, "a", 5), shard(tmp_path, "b", 9), shard(tmp_path, "c", 0))
    stage = ReadStage(CONTEXT, shards, ReadOptions(prompt="p", batch_rows=2))
    tables = list(stage(index(0, 2)))
    assert all(table.schema.equals(ROW_SCHEMA) for table in tables)
    rows = pa.concat_tables(tables).to_pylist()
    assert [row["image_id"] for row in rows if row["shard_rows"] is None] == [
        f"a#{i}" for i in range(5)
    ]
    markers = [(r["shard"], r["shard_rows"]) for r in rows if r["shard_rows"] is not None]
    assert markers == [("a", 5), ("c", 0)]


def test_every_table_is_recorded_once_on_its_first_row(tmp_path: Path) -> None:
    stage = ReadStage(CONTEXT, (shard(tmp_path, "a", 5),), ReadOptions(prompt="p", batch_rows=2))
    tables = [table.to_pylist() for table in stage(index(0))]
    found = [[len(row["stats"] or []) for row in rows] for rows in tables]
    assert found == [[1, 0], [1, 0], [1], [1]]
    records = [json.loads(rows[0]["stats"][0]) for rows in tables]
    assert [record["num_images"] for record in records] == [2, 2, 1, 0]
    assert {record["stage"] for record in records} == {"read"}
