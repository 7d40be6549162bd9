"""Arrow files as Hugging Face `save_to_disk` writes them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.sources import ReadOptions, Shard, count_rows
from tests.support.source_files import CAPTIONING, PROMPT, codes, read_rows

TABLE = pa.table(
    {
        "label": [7, 8, 9],
        "image": [{"bytes": b"one", "path": "/etc/passwd"}, None, {"bytes": b"", "path": None}],
        "q": ["One?", "Two?", None],
    }
)


def write(folder: Path, table: pa.Table = TABLE, *, as_file: bool = False) -> Shard:
    path = folder / "s.arrow"
    new = pa.ipc.new_file if as_file else pa.ipc.new_stream
    with new(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return Shard(url=str(path), name="s.arrow", format="arrow")


@pytest.mark.parametrize("as_file", [False, True])
def test_rows(tmp_path: Path, as_file: bool) -> None:
    shard = write(tmp_path, as_file=as_file)
    rows = read_rows(shard, ReadOptions(prompt_column="q"))
    assert [row["image"] for row in rows] == [b"one", None, None]
    assert codes(rows) == {
        "s.arrow#0": None,
        "s.arrow#1": "image_missing",
        "s.arrow#2": "image_empty",
    }
    assert [row["prompts"] for row in rows] == [["One?"], ["Two?"], [None]]
    assert count_rows(shard, CAPTIONING) == 3


def test_bytes_below_a_null_are_null(tmp_path: Path) -> None:
    image = pa.StructArray.from_arrays(
        [pa.array([b"one", b"hidden by the null"])], ["bytes"], mask=pa.array([False, True])
    )
    rows = read_rows(write(tmp_path, pa.table({"image": image})))
    assert codes(rows) == {"s.arrow#0": None, "s.arrow#1": "image_missing"}


def test_id_column(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path), ReadOptions(prompt=PROMPT, id_column="label"))
    assert [row["image_id"] for row in rows] == ["s.arrow#7", "s.arrow#8", "s.arrow#9"]


def test_column_missing(tmp_path: Path) -> None:
    shard = write(tmp_path)
    options = ReadOptions(prompt=PROMPT, image_column="picture", id_column="label")
    assert codes(read_rows(shard, options)) == {f"s.arrow#{i}": "column_missing" for i in (7, 8, 9)}
    options = ReadOptions(prompt=PROMPT, image_column="picture")
    assert codes(read_rows(shard, options)) == {f"s.arrow#{i}": "column_missing" for i in range(3)}


@pytest.mark.parametrize("data", [b"", b"abc", b"<html>" * 100])
def test_file_that_is_no_arrow(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.arrow").write_bytes(data)
    shard = Shard(url=str(tmp_path / "s.arrow"), name="s.arrow", format="arrow")
    assert codes(read_rows(shard)) == {"s.arrow#!corrupt": "shard_corrupt"}
    assert count_rows(shard, CAPTIONING) == 1


def test_every_cut_is_noticed_and_no_row_before_it_is_lost(tmp_path: Path) -> None:
    shard = write(tmp_path)
    path = Path(shard.url)
    data = path.read_bytes()
    seen = set()
    for num_bytes in range(len(data) - 1, 0, -7):
        path.write_bytes(data[:num_bytes])
        *good, end = codes(read_rows(shard))
        assert end in ("s.arrow#!truncated", "s.arrow#!corrupt")
        assert good == [f"s.arrow#{i}" for i in range(len(good))]
        assert count_rows(shard, CAPTIONING) == len(good) + 1
        seen.add((len(good), end))
    assert {(i, "s.arrow#!truncated") for i in range(4)} < seen


def test_empty_dataset_has_only_its_marker(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path, TABLE.slice(0, 0))) == []
