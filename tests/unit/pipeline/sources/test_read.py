"""What holds for all formats: tables, markers, counts, limits, and the same rows from each."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.rows.errors import InputError
from pipeline.rows.schemas import ROW_SCHEMA
from pipeline.sources import (
    ReadOptions,
    Shard,
    StoredRows,
    check_columns,
    count_rows,
    limit_shards,
    list_input,
    read_shard,
)
from tests.support.bad_images import CASES, OK
from tests.support.source_files import CAPTIONING, PROMPT, digest, marker_of, read_rows, tar_shard

IMAGES = {case.file_name: case.data for case in CASES if case.expected == OK}


def write_parquet(folder: Path) -> None:
    table = pa.table({"id": list(IMAGES), "image": list(IMAGES.values())})
    pq.write_table(table, folder / "a.parquet")


def write_struct_parquet(folder: Path) -> None:
    images = [{"bytes": data, "path": name} for name, data in IMAGES.items()]
    pq.write_table(pa.table({"id": list(IMAGES), "image": images}), folder / "a.parquet")


def write_tar(folder: Path) -> None:
    tar_shard(folder / "a.tar", IMAGES.items())


def write_files(folder: Path) -> None:
    for name, data in IMAGES.items():
        (folder / name).write_bytes(data)


def write_saved_dataset(folder: Path) -> None:
    features = datasets.Features(id=datasets.Value("string"), image=datasets.Image())
    images = [{"bytes": data, "path": None} for data in IMAGES.values()]
    columns = {"id": list(IMAGES), "image": images}
    dataset = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(train=dataset).save_to_disk(folder / "saved", num_shards={"train": 3})


@pytest.mark.parametrize(
    "write", [write_parquet, write_struct_parquet, write_tar, write_files, write_saved_dataset]
)
def test_every_format_hands_on_the_same_bytes(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path)
    shards = list_input([str(tmp_path)], storage_options={}).shards
    options = ReadOptions(prompt=PROMPT, id_column="id")
    rows = [row for shard in shards for row in read_rows(shard, options)]
    found = {row["key"].partition(".")[0]: row["image"] for row in rows}
    assert found == {name.partition(".")[0]: data for name, data in IMAGES.items()}
    assert {row["error_code"] for row in rows} == {None}
    counts = [count_rows(shard, options) for shard in shards]
    assert None in counts if shards[0].format == "webdataset" else sum(counts) == len(IMAGES)


def numbered(folder: Path, *, rows: int = 10, name: str = "a.parquet") -> Shard:
    table = pa.table({"image": [b"%d" % i for i in range(rows)], "q": [["x", "y"]] * rows})
    pq.write_table(table, folder / name)
    return Shard(url=str(folder / name), name=name, format="parquet")


def test_tables_end_at_the_row_limit(tmp_path: Path) -> None:
    shard = numbered(tmp_path)
    tables = list(read_shard(shard, ReadOptions(prompt=PROMPT, batch_rows=4)))
    assert [table.num_rows for table in tables] == [4, 4, 2, 1]
    assert all(table.schema.equals(ROW_SCHEMA) for table in tables)


def test_tables_end_at_the_byte_limit(tmp_path: Path) -> None:
    images = [("a.jpg", b"x" * 60), ("b.jpg", b"x" * 40), ("c.jpg", b"x" * 100), ("d.jpg", b"x")]
    shard = tar_shard(tmp_path / "s.tar", images)
    tables = list(read_shard(shard, ReadOptions(prompt=PROMPT, batch_bytes=100)))
    assert [table.num_rows for table in tables] == [2, 1, 1, 1]


def test_marker_counts_questions(tmp_path: Path) -> None:
    *_, last = read_shard(numbered(tmp_path), ReadOptions(prompt_column="q"))
    row_ids = [f"a.parquet#{key}#q{question}" for key in range(10) for question in range(2)]
    assert last.to_pylist() == [marker_of(numbered(tmp_path), row_ids)]


def test_an_empty_shard_is_its_marker(tmp_path: Path) -> None:
    shard = tar_shard(tmp_path / "s.tar", [])
    (table,) = read_shard(shard, CAPTIONING)
    assert table.to_pylist() == [marker_of(shard, [])]


@pytest.mark.parametrize("done", [set(), {"0"}, {"9", "3", "4"}, {str(i) for i in range(10)}])
def test_rows_that_are_stored_are_left_out_and_told_of(tmp_path: Path, done: set[str]) -> None:
    shard = numbered(tmp_path)
    ids = {f"a.parquet#{key}" for key in done}
    options = ReadOptions(prompt=PROMPT, batch_rows=4)
    *rows, marker = pa.concat_tables(
        read_shard(shard, options, StoredRows(ids | {"a.parquet#99"}, doubled=2))
    ).to_pylist()
    assert [row["key"] for row in rows] == [str(i) for i in range(10) if str(i) not in done]
    skipped = {"skipped_rows": len(ids), "skipped_digest": digest(ids), "doubled_rows": 2}
    assert marker == marker_of(shard, [row["image_id"] for row in rows], **skipped)


def test_only_the_questions_that_are_left_are_asked_again(tmp_path: Path) -> None:
    shard = numbered(tmp_path, rows=3)
    done = StoredRows({"a.parquet#0#q0", "a.parquet#1#q0", "a.parquet#1#q1"})
    tables = read_shard(shard, ReadOptions(prompt_column="q"), done)
    *rows, marker = pa.concat_tables(tables).to_pylist()
    assert [(row["key"], row["prompts"]) for row in rows] == [("0", ["y"]), ("2", ["x", "y"])]
    left = ["a.parquet#0#q1", "a.parquet#2#q0", "a.parquet#2#q1"]
    assert [row_id for row in rows for row_id in row["row_ids"]] == left
    assert marker["skipped_digest"] == digest(done.ids)


def test_a_limit_counts_rows_that_are_stored(tmp_path: Path) -> None:
    """With --limit 3 a rerun does the rest of the first three, not the next three."""
    shard = cut(numbered(tmp_path), 3)
    tables = read_shard(shard, CAPTIONING, StoredRows({"a.parquet#0", "a.parquet#1"}))
    assert [row["key"] for row in pa.concat_tables(tables).to_pylist()] == ["2", None]


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    shard = numbered(tmp_path)
    once, twice = (pa.concat_tables(read_shard(shard, CAPTIONING)) for _ in range(2))
    assert once.equals(twice)


@pytest.mark.parametrize("suffix", ["parquet", "tar", "arrow"])
def test_no_file_stays_open(tmp_path: Path, suffix: str) -> None:
    write: dict[str, Callable[[], Any]] = {
        "parquet": lambda: numbered(tmp_path),
        "tar": lambda: write_tar(tmp_path),
        "arrow": lambda: write_saved_dataset(tmp_path),
    }
    write[suffix]()
    shard = list_input([str(tmp_path)], storage_options={}).shards[0]
    gc.collect()
    before = open_files(tmp_path)
    one_by_one = ReadOptions(prompt=PROMPT, batch_rows=1)
    list(read_shard(shard, one_by_one))
    assert open_files(tmp_path) == before
    with contextlib.closing(read_shard(shard, one_by_one)) as tables:  # type: ignore[type-var]
        next(tables)
    assert open_files(tmp_path) == before


def open_files(folder: Path) -> list[str]:
    """Files below `folder` that this process has open or mapped."""
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    opened = [os.readlink(link) for link in links if link.is_symlink()]
    mapped = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in [*opened, *mapped] if str(folder) in line]


def test_count_rows(tmp_path: Path) -> None:
    shard = numbered(tmp_path)
    assert count_rows(shard, CAPTIONING) == 10
    assert count_rows(cut(shard, 4), CAPTIONING) == 4
    assert count_rows(cut(shard, 40), CAPTIONING) == 10
    assert count_rows(tar_shard(tmp_path / "s.tar", []), CAPTIONING) is None
    images = Shard(url=str(tmp_path), name=".", format="images", files=("a.jpg", "b.jpg"))
    assert count_rows(images, CAPTIONING) == 2
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    broken = Shard(url=str(tmp_path / "b.parquet"), name="b.parquet", format="parquet")
    assert count_rows(broken, CAPTIONING) == len(read_rows(broken)) == 1


def cut(shard: Shard, max_rows: int) -> Shard:
    return limit_shards([shard], max_rows, CAPTIONING)[0]


def three_shards(folder: Path) -> list[Shard]:
    """10 rows, 3 rows, 10 rows; the second is a tar."""
    tar = tar_shard(folder / "b.tar", [(f"{i}.jpg", b"x") for i in range(3)])
    return [numbered(folder), tar, numbered(folder, name="c.parquet")]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, [1]),
        (10, [10]),
        (11, [10, 1]),
        (13, [10, 3]),
        (14, [10, 3, 1]),
        (23, [10, 3, 10]),
        (99, [10, 3, 10]),
    ],
)
def test_limit(tmp_path: Path, limit: int, expected: list[int]) -> None:
    limited = limit_shards(three_shards(tmp_path), limit, CAPTIONING)
    assert [len(read_rows(shard)) for shard in limited] == expected


def test_limit_counts_images_not_questions_and_marks_what_was_read(tmp_path: Path) -> None:
    (shard,) = limit_shards([numbered(tmp_path)], 3, CAPTIONING)
    rows = read_rows(shard, ReadOptions(prompt_column="q"))
    assert [row["key"] for row in rows] == ["0", "1", "2"]


def test_limit_keeps_whole_shards_as_they_are(tmp_path: Path) -> None:
    shards = three_shards(tmp_path)
    assert limit_shards(shards, 12, CAPTIONING)[0] == shards[0]
    with pytest.raises(ValueError, match="limit is 0"):
        limit_shards(shards, 0, CAPTIONING)


def test_limit_within_images_and_broken_shards(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "0.tar").write_bytes(b"no tar" * 200)
    shards = list_input([str(tmp_path)], storage_options={}).shards
    tar_first = sorted(shards, key=lambda shard: shard.format != "webdataset")
    limited = limit_shards(tar_first, 3, CAPTIONING)
    rows = [row for shard in limited for row in read_rows(shard)]
    assert [row["error_code"] for row in rows] == ["shard_corrupt", None, None]


def test_check_columns_accepts_what_some_shard_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [b"x"]}), tmp_path / "0.parquet")
    (tmp_path / "1.parquet").write_bytes(b"no parquet")
    shards = [
        *(
            Shard(url=str(tmp_path / name), name=name, format="parquet")
            for name in ("0.parquet", "1.parquet")
        ),
        numbered(tmp_path),
    ]
    check_columns(shards, CAPTIONING)
    check_columns(shards, ReadOptions(prompt_column="q"))
    check_columns(shards[:1], ReadOptions(prompt=PROMPT, image_column="img"))
    check_columns(shards[1:2], CAPTIONING)
    check_columns([tar_shard(tmp_path / "s.tar", [])], ReadOptions(prompt_column="q"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ReadOptions(prompt="a", image_column="img"),
            "no column 'img'; columns: image: binary, q:",
        ),
        (ReadOptions(prompt_column="question"), "no column 'question'; columns:"),
        (ReadOptions(prompt="a", id_column="q"), "column 'q' has type list<.*>, wanted a scalar"),
    ],
)
def test_check_columns_lists_what_there_is(
    tmp_path: Path, options: ReadOptions, message: str
) -> None:
    with pytest.raises(InputError, match=rf"a\.parquet: {message}"):
        check_columns([numbered(tmp_path)], options)


def test_check_columns_refuses_questions_of_loose_images(tmp_path: Path) -> None:
    write_files(tmp_path)
    shards = list_input([str(tmp_path)], storage_options={}).shards
    with pytest.raises(InputError, match="loose images have no 'q'"):
        check_columns(shards, ReadOptions(prompt_column="q"))
    rows = read_rows(shards[0], ReadOptions(prompt_column="q"))
    assert {row["error_code"] for row in rows} == {"prompt_missing"}


def test_images_over_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 11)
    (tmp_path / "b.jpg").write_bytes(b"x" * 10)
    shards = list_input([str(tmp_path)], storage_options={}, buckets={"./": 1}).shards
    first, second = read_rows(shards[0], ReadOptions(prompt=PROMPT, max_image_bytes=10))
    assert (first["image_id"], first["error_code"]) == ("a.jpg", "image_too_many_bytes")
    assert first["error_detail"] == "11 bytes, the limit is 10"
    assert second["image"] == b"x" * 10
