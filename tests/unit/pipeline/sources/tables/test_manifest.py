"""CSV, TSV and JSON lines: every line is a row, whatever is the matter with it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.rows.errors import InputError
from pipeline.sources import (
    ReadOptions,
    Shard,
    check_columns,
    choose_carried,
    columns_of,
    count_rows,
    list_input,
    parse_carry,
    read_shard,
)
from pipeline.sources.tables.csv_records import MAX_RECORD_CHARS
from tests.support.source_files import CAPTIONING, PROMPT, codes, read_rows
from tests.support.table_cases import LOGO, RED, write_cases


def manifest(folder: Path, name: str, text: str | bytes) -> Shard:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    for image in ("a.jpg", "b.jpg", "c.jpg"):
        (folder / image).write_bytes(image.encode())
    (shard,) = list_input([str(folder / name)], storage_options={}).shards
    return shard


def images(shard: Shard, options: ReadOptions = CAPTIONING) -> list[str]:
    """Of each row its image as text, or the code of its failure."""
    return [row["error_code"] or row["image"].decode() for row in read_rows(shard, options)]


def carrying(shard: Shard, carry: str) -> list[dict[str, Any]]:
    there = columns_of([shard], CAPTIONING)
    carried = choose_carried(parse_carry([carry]), there, "image")
    tables = list(read_shard(shard, ReadOptions(prompt=PROMPT, carried=carried)))
    rows = pa.concat_tables(tables).to_pylist()[:-1]
    return [row["carried"] for row in rows]


def test_the_case_of_a_manifest_beside_its_images(tmp_path: Path) -> None:
    path = write_cases(tmp_path) / "manifest.csv"
    (shard,) = list_input([str(path)], storage_options={}).shards
    rows = read_rows(shard, ReadOptions(prompt=PROMPT, image_root=str(tmp_path)))
    assert [row["image"] for row in rows] == [RED, LOGO]
    assert [c["alt"] for c in carrying(shard, "alt")] == ["a circle, and a square", "a logo"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "path,alt\na.jpg,x\nb.jpg,y\n"),
        ("m.csv", "path,alt\r\na.jpg,x\r\n\r\nb.jpg\r\n"),
        ("m.csv", "\ufeffpath;alt\na.jpg;x\nb.jpg;y"),
        ("m.csv", '"path","alt"\n"a.jpg","two\nlines"\nb.jpg,"he said ""no"""\n'),
        ("m.tsv", 'alt\tpath\nx, y\ta.jpg\n5" pipe\tb.jpg\n'),
        ("m.TSV", "alt\tpath\nx\ta.jpg\ny\tb.jpg\n".encode("utf-16")),
        ("m.jsonl", '{"path": "a.jpg"}\n\n{"path": "b.jpg", "n": 1}\n'),
        ("m.ndjson", '{"image": {"path": "a.jpg"}}\r\n{"image": {"path": "b.jpg"}}'),
        ("m.csv.gz", gzip.compress(b"file_name\na.jpg\nb.jpg\n", mtime=0)),
        ("m.jsonl.gz", gzip.compress(b'{"url": "a.jpg"}\n{"url": "b.jpg"}\n', mtime=0)),
    ],
)
def test_ways_of_writing(tmp_path: Path, name: str, text: str | bytes) -> None:
    shard = manifest(tmp_path, name, text)
    check_columns([shard], CAPTIONING)
    assert images(shard) == ["a.jpg", "b.jpg"]
    assert count_rows(shard, CAPTIONING) == 2


def test_lists_in_json_lines(tmp_path: Path) -> None:
    lines = [
        {"image": ["a.jpg", {"path": "b.jpg"}, None]},
        {"image": []},
        {"image": 7},
        {"other": 1},
    ]
    shard = manifest(tmp_path, "m.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert codes(read_rows(shard)) == {
        "m.jsonl#0#img0": None,
        "m.jsonl#0#img1": None,
        "m.jsonl#0#img2": "image_missing",
        "m.jsonl#1": "image_missing",
        "m.jsonl#2": "image_missing",
        "m.jsonl#3": "image_missing",
    }


def test_ids_prompts_and_carried_columns(tmp_path: Path) -> None:
    lines = [
        {"id": "x", "image": "a.jpg", "q": ["One?", "Two?"], "n": 1, "tags": ["t"]},
        {"id": 7, "image": "b.jpg", "q": "Three?", "n": 2.5},
        {"id": None, "image": "c.jpg", "n": None, "tags": []},
    ]
    shard = manifest(tmp_path, "m.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    rows = read_rows(shard, ReadOptions(prompt_column="q", id_column="id"))
    assert [row["row_ids"] for row in rows] == [
        ["m.jsonl#x#q0", "m.jsonl#x#q1"],
        ["m.jsonl#7"],
        ["m.jsonl#2"],
    ]
    assert [row["error_code"] for row in rows] == [None, None, "prompt_missing"]
    assert carrying(shard, "n, tags, image as path")[:2] == [
        {"n": 1.0, "tags": '["t"]', "path": "a.jpg"},
        {"n": 2.5, "tags": None, "path": "b.jpg"},
    ]


def test_a_bad_line_costs_itself_alone(tmp_path: Path) -> None:
    text = 'path,alt\na.jpg,x\n"b.jpg"y,x\nb.jpg,x,y,z\n"never closed\nc.jpg,x\n'
    shard = manifest(tmp_path, "m.csv", text)
    assert images(shard) == ["a.jpg", "line_invalid", "line_invalid", "line_invalid", "c.jpg"]
    lines = '{"image": "a.jpg"}\n{"image": \n[1]\n"a"\n' + "[" * 100_000 + '\n{"image": "c.jpg"}\n'
    expected = ["a.jpg", *["line_invalid"] * 4, "c.jpg"]
    assert images(manifest(tmp_path, "m.jsonl", lines)) == expected


def test_lines_and_fields_are_bounded(tmp_path: Path) -> None:
    large = "x" * (3 * MAX_RECORD_CHARS)
    unclosed = f'b.jpg,"{"y" * 600_000}\n{"z" * 600_000}\n'
    text = f"path,alt\n{large},x\na.jpg,{'x' * 500_000}\n{unclosed}c.jpg,x\n"
    found = images(manifest(tmp_path, "m.csv", text))
    assert found == ["line_invalid", "a.jpg", "line_invalid", "path_not_allowed", "c.jpg"]
    lines = json.dumps({"image": large}) + '\n{"image": "a.jpg"}\n'
    assert images(manifest(tmp_path, "m.jsonl", lines)) == ["line_invalid", "a.jpg"]


def test_bytes_that_are_no_unicode(tmp_path: Path) -> None:
    text = b"path,q\na.jpg,gr\xfcn?\nb.jpg,ok\n"
    shard = manifest(tmp_path, "m.csv", text)
    assert images(shard, ReadOptions(prompt_column="q")) == ["prompt_missing", "b.jpg"]
    assert [c["q"] for c in carrying(shard, "q")] == [None, "ok"]
    surrogate = '{"image": "\\ud800.jpg"}\n{"image": "a.jpg", "id": "\\udfff"}\n'
    assert images(manifest(tmp_path, "m.jsonl", surrogate)) == ["path_not_allowed", "a.jpg"]


def test_a_file_that_breaks_off_says_so(tmp_path: Path) -> None:
    packed = gzip.compress(b"path\n" + b"a.jpg\n" * 5000)
    rows = read_rows(manifest(tmp_path, "m.csv.gz", packed[:-20]))
    assert (rows[-1]["key"], rows[-1]["error_code"]) == ("!truncated", "shard_truncated")
    spoiled = packed[:-8] + bytes(8)
    assert read_rows(manifest(tmp_path, "n.csv.gz", spoiled))[-1]["error_code"] == "shard_corrupt"


@pytest.mark.parametrize("cut", [1, 5, 9, 10, 12, 24])
@pytest.mark.parametrize("name", ["m.csv.gz", "m.jsonl.gz"])
def test_a_packed_file_that_breaks_off_at_once_says_so(tmp_path: Path, name: str, cut: int) -> None:
    packed = gzip.compress(b'path\n{"path": "a.jpg"}\n' * 9, mtime=0)
    with_extra = packed[:3] + b"\x04" + packed[4:10] + b"\x00\x40" + packed[10:]
    for data in (packed[: max(2, cut)], with_extra):
        shard = manifest(tmp_path, name, data)
        assert read_rows(shard)[-1]["error_code"] == "shard_truncated"
        assert count_rows(shard, CAPTIONING) == 1


def test_names_of_fields_that_are_no_unicode_are_no_columns(tmp_path: Path) -> None:
    lines = b"""{"path": "a.jpg", "u": 1}
{"path": "b.jpg", "\\ud800": 1}
{"pa\xff": "c.jpg"}"""
    shard = manifest(tmp_path, "m.jsonl", lines)
    assert images(shard) == ["a.jpg", "b.jpg", "image_missing"]
    assert list(columns_of([shard], CAPTIONING)) == ["path", "u"]
    table = manifest(tmp_path, "m.csv", b"path,\xff\na.jpg,1\n")
    assert images(table) == ["a.jpg"] and list(columns_of([table], CAPTIONING)) == ["path"]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    assert images(manifest(tmp_path, name, "")) == []


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    shard = manifest(tmp_path, "m.csv", "x.jpg,caption\na.jpg,y\n")
    assert images(shard) == ["column_missing"]
    with pytest.raises(InputError, match=r"no column 'image'; columns: x\.jpg: string"):
        check_columns([shard], CAPTIONING)
    twice = manifest(tmp_path, "n.csv", "path,path\na.jpg,b.jpg\n")
    assert images(twice) == ["column_missing"]


def test_what_lists_the_images_beside_it_is_no_second_input(tmp_path: Path) -> None:
    """metadata.csv in a folder of images; in a folder of manifests alone they are the input."""
    shard = manifest(tmp_path, "metadata.csv", "file_name,text\na.jpg,x\n")
    found = list_input([str(tmp_path)], storage_options={})
    assert {each.format for each in found.shards} == {"images"}
    assert found.passed_over == {"list beside other input": 1}
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "m.jsonl").write_text('{"path": "/nowhere.jpg"}\n')
    assert [each.format for each in list_input([str(lists)], storage_options={}).shards] == [
        "jsonl"
    ]
    (glob,) = list_input([str(tmp_path / "*.csv")], storage_options={}).shards
    assert (glob.format, shard.format) == ("csv", "csv")
