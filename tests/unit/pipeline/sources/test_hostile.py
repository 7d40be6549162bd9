"""Shards made to hurt: read in a process of their own, for the unguarded reader dies of some."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import ReadOptions, Shard, read_shard
from pipeline.sources.tables.validate import check_batch

ROOT = Path(__file__).parents[4]
READ = """
import json, resource, sys
from pipeline.sources import ReadOptions, Shard, read_shard
path, fmt, column, gib, rows = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, (int(float(gib) * 2**30), -1))
options = ReadOptions(prompt_column=column) if column else ReadOptions(prompt="x")
shard = Shard(url=path, name="shard", format=fmt, max_rows=int(rows))
for table in read_shard(shard, options):
    for row in table.select(["image_id", "error_code"]).to_pylist():
        print(json.dumps(row))
"""


def codes(
    path: Path, fmt: str, column: str = "", *, gib: float = 3.0, rows: int = 1000
) -> list[str | None]:
    """Error code of each row, the marker's None last, with so much address space to read in."""
    command = [sys.executable, "-c", READ, str(path), fmt, column, str(gib), str(rows)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, (result.returncode, result.stderr[-1000:])
    return [json.loads(line)["error_code"] for line in result.stdout.splitlines()]


def stream(path: Path, batch: pa.RecordBatch) -> bytearray:
    with pa.ipc.new_stream(path, batch.schema) as writer:
        writer.write_batch(batch)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("offset", [2**31 - 1, -(2**31), 50])
@pytest.mark.parametrize("column", ["", "prompt"])
def test_arrow_offsets_that_point_elsewhere(tmp_path: Path, offset: int, column: str) -> None:
    value = {"": "image", "prompt": "prompt"}[column]
    columns = {"image": [b"a" * 100] * 20, "prompt": ["b" * 90] * 20}
    data = stream(tmp_path / "a.arrow", pa.record_batch(columns))
    step = len(columns[value][0])
    start = data.find(struct.pack("<4i", 0, step, 2 * step, 3 * step))
    struct.pack_into("<i", data, start + 20, offset)
    (tmp_path / "a.arrow").write_bytes(data)
    assert codes(tmp_path / "a.arrow", "arrow", column) == ["shard_corrupt", None]


def test_arrow_rows_that_take_no_bytes(tmp_path: Path) -> None:
    """Two billion rows of nothing: read one after the other, and never all at once."""
    batch = pa.RecordBatch.from_arrays([pa.nulls(2**31 - 1)], ["nothing"])
    stream(tmp_path / "a.arrow", batch)
    found = codes(tmp_path / "a.arrow", "arrow", gib=2.5, rows=3)
    assert found == ["column_missing"] * 3 + [None]


def test_one_parquet_value_for_many_rows(tmp_path: Path) -> None:
    """A dictionary holds 48 MiB once, and 64 rows name it: 3 GiB, were they read at once."""
    value = random.Random(0).randbytes(1024) * (48 * 1024)
    images = pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int32()), pa.array([value]))
    path = tmp_path / "a.parquet"
    options: dict[str, Any] = {"dictionary_pagesize_limit": 2**30, "store_schema": False}
    pq.write_table(pa.table({"image": images}), path, compression="zstd", **options)
    assert path.stat().st_size < 2**20
    assert codes(path, "parquet", gib=2.5) == [None] * 65


@pytest.mark.parametrize("kind", ["stream", "file", "parquet"])
def test_bytes_flipped_at_random_kill_nobody(tmp_path: Path, kind: str) -> None:
    struct_column = pa.array([{"bytes": b"A" * 50, "path": "x"}] * 8)
    keys = pa.array(["a", "b"] * 4).dictionary_encode()
    table = pa.table({"image": struct_column, "prompt": [["hello", "you"]] * 8, "id": keys})
    path = tmp_path / "whole"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with new(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
    options = ReadOptions(prompt_column="prompt", id_column="id")
    fmt: Any = "parquet" if kind == "parquet" else "arrow"
    for seed in range(300):
        rng, data = random.Random(seed), bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 2, 4])):
            start = rng.randrange(len(data) - 4)
            data[start : start + 4] = rng.choice([b"\xff\xff\xff\x7f", rng.randbytes(4)])
        broken = tmp_path / "broken"
        broken.write_bytes(data)
        list(read_shard(Shard(url=str(broken), name="broken", format=fmt), options))


def test_texts_that_are_no_utf8_are_no_broken_shard() -> None:
    """They are a failure of their row: see the prompts' own tests."""
    lists = pa.array([[b"\xff"], [b"ok"]]).view(pa.list_(pa.string()))
    structs = pa.array([{"path": b"\xff", "bytes": b""}] * 2)
    structs = structs.view(pa.struct([("path", pa.string()), ("bytes", pa.binary())]))
    texts = pa.array([b"\xff", b"ok"]).view(pa.string())
    columns = [lists, structs, texts, texts.view(pa.binary()).dictionary_encode()]
    check_batch(pa.RecordBatch.from_arrays(columns, ["a", "b", "c", "d"]))


def test_dictionary_indices_are_checked() -> None:
    indices = pa.array([0, 7], pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array([b"x"]), safe=False)
    with pytest.raises(pa.ArrowInvalid, match="out of bounds"):
        check_batch(pa.RecordBatch.from_arrays([column], ["a"]))
