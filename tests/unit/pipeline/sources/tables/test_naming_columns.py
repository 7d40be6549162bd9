"""Images that Parquet and Arrow tables name or list: where they come from, how they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.rows.errors import InputError
from pipeline.sources import ReadOptions, Shard, check_columns, count_rows, limit_shards, list_input
from tests.support.source_files import CAPTIONING, PROMPT, codes, read_rows
from tests.support.table_cases import (
    IMAGE,
    LOGO,
    RED,
    SPECIAL,
    entry,
    structs,
    write_cases,
    write_table,
)

ASKING = ReadOptions(prompt_column="question")


def shard_of(path: Path, **more: Any) -> Shard:
    (shard,) = list_input([str(path)], storage_options={}).shards
    return shard


def inside(root: Path, **more: Any) -> ReadOptions:
    return ReadOptions(**({"prompt": PROMPT} | more), image_root=str(root))


def images(rows: list[dict[str, Any]]) -> list[bytes | str | None]:
    """Of each row its image, or the code of its failure."""
    return [row["error_code"] or row["image"] for row in rows]


def test_a_struct_without_bytes_is_read_from_its_path(tmp_path: Path) -> None:
    shard = shard_of(write_cases(tmp_path) / "struct_path.parquet")
    assert images(read_rows(shard, inside(tmp_path))) == [RED, RED, "image_missing"]


def test_a_list_of_structs_gives_a_row_for_each_image(tmp_path: Path) -> None:
    shard = shard_of(write_cases(tmp_path) / "list_struct.parquet")
    rows = read_rows(shard, ASKING)
    assert images(rows) == [RED, LOGO]
    assert [row["image_id"] for row in rows] == [
        "list_struct.parquet#0#img0",
        "list_struct.parquet#0#img1",
    ]
    assert [row["prompts"] for row in rows] == [["What is it?"]] * 2
    assert count_rows(shard, ASKING) is None


def test_a_column_of_paths_is_found_by_its_name(tmp_path: Path) -> None:
    shard = shard_of(write_cases(tmp_path) / "paths.parquet")
    check_columns([shard], CAPTIONING)
    rows = read_rows(shard, inside(tmp_path))
    assert images(rows) == [RED, LOGO, "file_not_found"]
    assert rows[2]["error_detail"].endswith("images/missing.jpg")


def test_without_a_root_no_path_leads_out_of_the_tables_folder(tmp_path: Path) -> None:
    folder = write_cases(tmp_path)
    rows = read_rows(shard_of(folder / "paths.parquet"))
    assert images(rows) == ["path_not_allowed"] * 3
    assert (
        f"not below {folder}; name a folder above it with --image-root" in rows[0]["error_detail"]
    )


def test_questions_with_special_tokens_are_handed_on_as_they_are(tmp_path: Path) -> None:
    """That they are letters to the model is `hired_core.language`'s, and tested there."""
    rows = read_rows(shard_of(write_cases(tmp_path) / "special_tokens.parquet"), ASKING)
    assert images(rows) == [RED] * 4
    assert [row["prompts"] for row in rows] == [[question] for question in SPECIAL]


def test_urls_and_absolute_paths_of_elsewhere_each_tell_why(tmp_path: Path) -> None:
    shard = shard_of(write_cases(tmp_path) / "string_url.parquet")
    rows = read_rows(shard, ASKING)
    assert images(rows)[1] == "path_not_allowed"
    assert images(rows)[0] in ("url_host_unknown", "url_unreachable")


@pytest.mark.parametrize(
    "path",
    [
        "../secret.jpg",
        "a/../../secret.jpg",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "s3://bucket/key.jpg",
        "a.jpg\0.png",
        "x" * 9000,
        ".",
        "./",
        "simplecache::https://host/a.jpg",
    ],
)
def test_paths_that_lead_elsewhere_are_not_followed(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(RED)
    folder = tmp_path / "given"
    folder.mkdir()
    shard = shard_of(write_table(folder / "t.parquet", image=[path]))
    expected = "file_not_found" if "::" in path else "path_not_allowed"
    assert images(read_rows(shard)) == [expected]


@pytest.mark.parametrize(
    "path",
    [
        "a.jpg",
        "./a.jpg",
        "sub/../a.jpg",
        "sub//b.jpg",
        "#1%20.jpg",
        "a::b.jpg",
        "ü\n.jpg",
        "?[*].jpg",
    ],
)
def test_paths_below_the_table_are_read_whatever_their_names(tmp_path: Path, path: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / path).write_bytes(LOGO)
    absolute = os.path.normpath(tmp_path / path)
    shard = shard_of(
        write_table(tmp_path / "t.parquet", image=[path, absolute, f"file://{absolute}"])
    )
    assert images(read_rows(shard)) == [LOGO] * 3


def test_what_is_no_file_costs_its_row_alone(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "large.jpg").write_bytes(b"x" * 100)
    (tmp_path / "good.jpg").write_bytes(b"good")
    names = [
        "folder.jpg",
        "pipe.jpg",
        "empty.jpg",
        "loop.jpg",
        "large.jpg",
        "x" * 300,
        " ",
        "good.jpg",
    ]
    shard = shard_of(write_table(tmp_path / "t.parquet", image=names))
    expected = [
        *("file_unreadable", "file_unreadable", "image_empty", "file_unreadable"),
        *("image_too_many_bytes", "file_unreadable", "image_missing", b"good"),
    ]
    assert images(read_rows(shard, ReadOptions(prompt=PROMPT, max_image_bytes=99))) == expected


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["a.jpg", "b.png"], []], pa.list_(pa.string())),
        pa.array([["a.jpg", "b.png"], []], pa.large_list(pa.large_string())),
        pa.array([[RED, LOGO], None], pa.list_(pa.large_binary())),
        pa.array([[RED, LOGO], None], pa.list_(pa.binary(), 2)),
        pa.array([[entry(None, "a.jpg"), entry(LOGO, None)], []], pa.large_list(IMAGE)),
    ],
    ids=lambda column: str(column.type)[:24],
)
def test_lists_of_every_kind(tmp_path: Path, column: pa.Array) -> None:
    (tmp_path / "a.jpg").write_bytes(RED)
    (tmp_path / "b.png").write_bytes(LOGO)
    rows = read_rows(shard_of(write_table(tmp_path / "t.parquet", image=column)))
    assert images(rows) == [RED, LOGO, "image_missing"]
    assert [row["key"] for row in rows] == ["0#img0", "0#img1", "1"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a.jpg"] * 2).dictionary_encode(),
        pa.array(["a.jpg"] * 2, pa.string_view()),
        pa.array([RED] * 2, pa.binary_view()),
        pa.array([RED] * 2).dictionary_encode(),
        pa.StructArray.from_arrays([pa.array(["a.jpg"] * 2)], ["path"]),
        pa.StructArray.from_arrays([pa.nulls(2), pa.array(["a.jpg"] * 2)], ["bytes", "path"]),
        pa.StructArray.from_arrays(
            [pa.array([RED] * 2).dictionary_encode(), pa.array(["/x"] * 2)], ["bytes", "path"]
        ),
        pa.array([["a.jpg"], ["a.jpg"]], pa.list_view(pa.string())),
        pa.array([[RED], [RED]], pa.large_list(pa.binary_view())),
    ],
    ids=lambda column: str(column.type)[:24],
)
def test_types_of_arrow_files(tmp_path: Path, column: pa.Array) -> None:
    (tmp_path / "a.jpg").write_bytes(RED)
    table = pa.table({"image": column})
    with (
        pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as out,
    ):
        out.write_table(table)
    assert images(read_rows(shard_of(tmp_path / "t.arrow"))) == [RED, RED]


def test_other_fields_beside_an_image_are_left_alone(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("more", pa.struct([("x", pa.int64())]))])
    column = pa.array([[{"bytes": RED, "more": {"x": 1}}]], pa.list_(kind))
    assert images(read_rows(shard_of(write_table(tmp_path / "t.parquet", image=column)))) == [RED]


def test_a_table_with_bytes_is_not_fetched_from_its_urls(tmp_path: Path) -> None:
    shard = shard_of(
        write_table(tmp_path / "t.parquet", jpg=[RED], url=["https://example.invalid/a"])
    )
    assert images(read_rows(shard)) == ["column_missing"]
    with pytest.raises(InputError, match="no column 'image'; columns: jpg: binary, url: string"):
        check_columns([shard], CAPTIONING)


def test_lists_that_claim_millions_of_entries_are_refused(tmp_path: Path) -> None:
    nulls = pa.FixedSizeListArray.from_arrays(pa.nulls(2**24 + 2, pa.binary()), 2**23 + 1)
    rows = read_rows(shard_of(write_table(tmp_path / "t.parquet", image=nulls)))
    assert codes(rows) == {"t.parquet#!corrupt": "shard_corrupt"}


def test_paths_are_bytes_to_linux(tmp_path: Path) -> None:
    name = b"\xff.jpg"
    Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(RED)
    column = pa.array([name], pa.binary()).view(pa.string())
    assert images(read_rows(shard_of(write_table(tmp_path / "t.parquet", image=column)))) == [RED]


def test_what_is_done_is_not_opened_again(tmp_path: Path) -> None:
    """A pipe's other end would wait; a file that is gone would be a failure."""
    from pipeline.sources import StoredRows, read_shard

    shard = shard_of(write_table(tmp_path / "t.parquet", image=["gone.jpg", "there.jpg"]))
    (tmp_path / "there.jpg").write_bytes(RED)
    done = StoredRows(ids={"t.parquet#0"})
    *tables, _ = read_shard(shard, CAPTIONING, done)
    assert [row["error_code"] for table in tables for row in table.to_pylist()] == [None]


def test_a_limit_counts_images_and_opens_none(tmp_path: Path) -> None:
    column = pa.array([["x.jpg", "y.jpg"], ["z.jpg"]], pa.list_(pa.string()))
    shards = [
        shard_of(write_table(tmp_path / name, image=column)) for name in ("a.parquet", "b.parquet")
    ]
    kept = limit_shards(shards, 4, CAPTIONING)
    assert [shard.max_rows for shard in kept] == [None, 1]
    assert len(read_rows(kept[1])) == 1


def test_remote_paths_and_order(tmp_path: Path) -> None:
    """Read by threads; in the order of the rows all the same."""
    import fsspec

    memory = fsspec.filesystem("memory")
    for index in range(100):
        memory.pipe_file(f"/tables/images/{index}.jpg", b"%d" % index)
    shard = shard_of(write_table(tmp_path / "t.parquet", image=[f"{i}.jpg" for i in range(101)]))
    options = ReadOptions(prompt=PROMPT, image_root="memory://tables/images")
    assert images(read_rows(shard, options)) == [b"%d" % i for i in range(100)] + ["file_not_found"]


def test_null_structs_hide_what_lies_below(tmp_path: Path) -> None:
    hidden = pa.StructArray.from_arrays(
        [pa.array([RED, None]), pa.array(["a.jpg", "a.jpg"])],
        ["bytes", "path"],
        mask=pa.array([True, True]),
    )
    rows = read_rows(shard_of(write_table(tmp_path / "t.parquet", image=hidden)))
    assert images(rows) == ["image_missing"] * 2
    assert images(
        read_rows(shard_of(write_table(tmp_path / "u.parquet", image=structs((None, None)))))
    ) == ["image_missing"]
