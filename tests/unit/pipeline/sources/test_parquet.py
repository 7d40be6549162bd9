"""Parquet and Arrow columns: which types do, which rows fail, and how much is read at a time."""

from __future__ import annotations

import datetime
import decimal
import io
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import ReadOptions, Shard, read_shard
from tests.support.source_files import CAPTIONING, PROMPT, codes, read_rows

ASKING = ReadOptions(prompt_column="q")
IMAGES = [b"one", b"two", b"three"]


def write(folder: Path, columns: dict[str, Any], **options: Any) -> Shard:
    path = folder / "s.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return Shard(url=str(path), name="s.parquet", format="parquet")


def structs(images: list[bytes | None]) -> pa.Array:
    fields = [("bytes", pa.binary()), ("path", pa.string())]
    values = [None if i is None else {"bytes": i, "path": "/etc/passwd"} for i in images]
    return pa.array(values, pa.struct(fields))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(IMAGES, pa.binary()),
        pa.array(IMAGES, pa.large_binary()),
        pa.array(IMAGES, pa.binary()).dictionary_encode(),
        structs([*IMAGES]),
    ],
    ids=lambda column: str(column.type)[:12],
)
def test_image_column_types(tmp_path: Path, column: pa.Array) -> None:
    rows = read_rows(write(tmp_path, {"image": column, "other": [1, 2, 3]}))
    assert [row["image"] for row in rows] == IMAGES
    assert [row["image_id"] for row in rows] == [f"s.parquet#{i}" for i in range(3)]
    assert [row["prompts"] for row in rows] == [[PROMPT]] * 3


def test_null_and_empty_images(tmp_path: Path) -> None:
    images = [b"one", None, b""]
    expected = [None, "image_missing", "image_empty"]
    plain = read_rows(write(tmp_path, {"image": pa.array(images, pa.binary())}))
    assert [row["error_code"] for row in plain] == expected
    struct = pa.StructArray.from_arrays(
        [pa.array([b"one", b"hidden by the null", b""]), pa.array(["/etc/passwd"] * 3)],
        ["bytes", "path"],
        mask=pa.array([False, True, False]),
    )
    assert [row["error_code"] for row in read_rows(write(tmp_path, {"image": struct}))] == expected


def test_ordinals_go_on_over_row_groups_and_batches(tmp_path: Path) -> None:
    shard = write(tmp_path, {"image": [b"%d" % i for i in range(100)]}, row_group_size=30)
    rows = read_rows(shard, ReadOptions(prompt=PROMPT, batch_rows=7))
    assert [row["key"] for row in rows] == [str(i) for i in range(100)]
    assert [row["image"] for row in rows] == [b"%d" % i for i in range(100)]


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        (["x", "y/z", "ü"], ["x", "y/z", "ü"]),
        ([7, -1, 2**62], ["7", "-1", str(2**62)]),
        ([b"k", b"l", b"\xff"], ["k", "l", "%FF"]),
        ([decimal.Decimal("1.50"), None, decimal.Decimal("2.25")], ["1.50", "1", "2.25"]),
        ([datetime.date(2026, 11, 20), None, None], ["2026-11-20", "1", "2"]),
        ([True, None, False], ["true", "1", "false"]),
        (pa.array(["x", "y", None]).dictionary_encode(), ["x", "y", "2"]),
        (pa.array([1, 2, 3], pa.timestamp("ns")), None),
    ],
)
def test_id_column(tmp_path: Path, values: Any, keys: list[str] | None) -> None:
    shard = write(tmp_path, {"image": IMAGES, "id": values})
    rows = read_rows(shard, ReadOptions(prompt=PROMPT, id_column="id"))
    if keys is None:
        keys = [f"1970-01-01 00:00:00.00000000{i}" for i in (1, 2, 3)]
    assert [row["key"] for row in rows] == keys
    assert [row["image_id"] for row in rows] == [f"s.parquet#{key}" for key in keys]


def test_duplicate_null_and_unsafe_ids(tmp_path: Path) -> None:
    shard = write(tmp_path, {"image": [b"x"] * 4, "id": ["a", "a", None, "b\n"]})
    rows = read_rows(shard, ReadOptions(prompt=PROMPT, id_column="id"))
    assert codes(rows) == {
        "s.parquet#a": None,
        "s.parquet#a~2": "key_duplicate",
        "s.parquet#2": None,
        "s.parquet#b%0A": "key_unsafe",
    }


def test_prompt_column(tmp_path: Path) -> None:
    shard = write(tmp_path, {"image": [b"x"] * 4, "q": ["One?", None, " \n", " Two?"]})
    rows = read_rows(shard, ASKING)
    assert [row["prompts"] for row in rows] == [["One?"], [None], [None], [" Two?"]]
    missing = "prompt_missing"
    assert [row["error_code"] for row in rows] == [None, missing, missing, None]
    assert rows[0]["row_ids"] == ["s.parquet#0"]


@pytest.mark.parametrize("list_type", [pa.list_, pa.large_list])
def test_lists_of_questions(tmp_path: Path, list_type: Any) -> None:
    values = [["One?", "Two?"], ["Only?"], [], None, [None, " "]]
    questions = pa.array(values, list_type(pa.string()))
    images = [b"x", None, b"x", b"x", b"x"]
    rows = read_rows(write(tmp_path, {"image": images, "q": questions}), ASKING)
    assert [row["row_ids"] for row in rows] == [
        ["s.parquet#0#q0", "s.parquet#0#q1"],
        ["s.parquet#1#q0"],
        ["s.parquet#2"],
        ["s.parquet#3"],
        ["s.parquet#4#q0", "s.parquet#4#q1"],
    ]
    assert [row["prompts"] for row in rows] == [
        ["One?", "Two?"],
        ["Only?"],
        [None],
        [None],
        [None, None],
    ]
    missing = "prompt_missing"
    assert [row["error_code"] for row in rows] == [None, "image_missing", missing, missing, None]


def test_fixed_size_lists_and_dictionaries_of_questions(tmp_path: Path) -> None:
    pairs = pa.array([["a", "b"], ["c", None]], pa.list_(pa.string(), 2))
    rows = read_rows(write(tmp_path, {"image": [b"x"] * 2, "q": pairs}), ASKING)
    assert [row["prompts"] for row in rows] == [["a", "b"], ["c", None]]
    coded = pa.array(["a", None]).dictionary_encode()
    rows = read_rows(write(tmp_path, {"image": [b"x"] * 2, "q": coded}), ASKING)
    assert [row["prompts"] for row in rows] == [["a"], [None]]


def test_prompts_and_ids_that_are_no_utf8(tmp_path: Path) -> None:
    broken = pa.array([b"\xff?"], pa.binary()).view(pa.string())
    shard = write(tmp_path, {"image": [b"x"], "q": broken, "id": broken})
    (row,) = read_rows(shard, ASKING)
    assert row["error_code"] == "prompt_missing"
    (row,) = read_rows(shard, ReadOptions(prompt=PROMPT, id_column="id"))
    assert (row["image_id"], row["error_code"]) == ("s.parquet#%FF?", "key_unsafe")


@pytest.mark.parametrize(
    ("columns", "options", "detail"),
    [
        ({"img": IMAGES}, CAPTIONING, "no column 'image'; columns: img: binary"),
        ({"image": [1, 2, 3]}, CAPTIONING, "column 'image' has type int64, wanted binary"),
        ({"image": IMAGES}, ASKING, "no column 'q'"),
        ({"image": IMAGES, "q": [1, 2, 3]}, ASKING, "column 'q' has type int64, wanted string"),
        ({"image": [{"url": "a.jpg"}] * 3}, CAPTIONING, "a struct with 'bytes' or 'path'"),
        ({"image": IMAGES}, ReadOptions(prompt="a", id_column="id"), "no column 'id'"),
    ],
)
def test_column_missing_quarantines_every_row(
    tmp_path: Path, columns: dict[str, Any], options: ReadOptions, detail: str
) -> None:
    rows = read_rows(write(tmp_path, columns, row_group_size=2), options)
    assert codes(rows) == {f"s.parquet#{i}": "column_missing" for i in range(3)}
    assert all(detail in row["error_detail"] for row in rows)


def test_column_missing_keeps_the_ids(tmp_path: Path) -> None:
    shard = write(tmp_path, {"id": ["a", "b", "c"]})
    rows = read_rows(shard, ReadOptions(prompt=PROMPT, id_column="id"))
    assert codes(rows) == {f"s.parquet#{key}": "column_missing" for key in "abc"}


def test_max_image_bytes(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, {"image": IMAGES}), ReadOptions(prompt="a", max_image_bytes=3))
    assert [row["error_code"] for row in rows] == [None, None, "image_too_many_bytes"]


def test_empty_parquet_has_only_its_marker(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path, {"image": pa.array([], pa.binary())})) == []


@pytest.mark.parametrize("data", [b"", b"PAR1", b"<html>" * 100, b"PAR1" + bytes(99) + b"PAR1"])
def test_file_that_is_no_parquet(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.parquet").write_bytes(data)
    shard = Shard(url=str(tmp_path / "s.parquet"), name="s.parquet", format="parquet")
    assert codes(read_rows(shard)) == {"s.parquet#!corrupt": "shard_corrupt"}


def test_rows_before_a_broken_row_group_are_good(tmp_path: Path) -> None:
    shard = write(tmp_path, {"image": IMAGES}, row_group_size=1, compression="zstd")
    path = Path(shard.url)
    start = pq.read_metadata(path).row_group(1).column(0).dictionary_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 12] = b"\xff" * 12
    path.write_bytes(data)
    rows = read_rows(shard, ReadOptions(prompt=PROMPT, batch_rows=1))
    assert codes(rows) == {"s.parquet#0": None, "s.parquet#!corrupt": "shard_corrupt"}
    assert rows[1]["error_detail"].startswith("after 1 rows: ")


class RecordingFile(io.BytesIO):
    sizes: list[int]

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.sizes.append(len(data))
        return data


class RecordingFileSystem(fsspec.AbstractFileSystem):
    """Local files that note how much is read at once."""

    protocol = "recording"

    def _open(self, path: str, *args: Any, **kwargs: Any) -> RecordingFile:
        file = RecordingFile(Path(path).read_bytes())
        file.sizes = SIZES
        return file


SIZES: list[int] = []
fsspec.register_implementation("recording", RecordingFileSystem)


def test_a_large_row_group_is_read_in_pieces(tmp_path: Path) -> None:
    images = [bytes([i]) * 100_000 for i in range(100)]
    columns = {"image": images, "unneeded": [image[::-1] for image in images]}
    local = write(tmp_path, columns, compression="none", use_dictionary=False, write_batch_size=4)
    shard = Shard(url=f"recording://{local.url}", name="s", format="parquet")
    SIZES.clear()
    tables = list(read_shard(shard, ReadOptions(prompt=PROMPT, batch_bytes=1 << 20)))
    assert max(SIZES) < 2_000_000
    assert 10_000_000 <= sum(SIZES) < 12_000_000
    assert [table.num_rows for table in tables[:-1]] == [11] * 9 + [1]
