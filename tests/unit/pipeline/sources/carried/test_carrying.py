"""Columns that go along with images, from shards of every format."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.rows.errors import InputError
from pipeline.rows.row import CARRIED
from pipeline.sources import (
    LOST,
    ReadOptions,
    Shard,
    choose_carried,
    columns_of,
    parse_carry,
    read_shard,
)
from tests.support.source_files import tar_shard

PLAIN = ReadOptions(prompt="x")
DAY = datetime.datetime(2026, 11, 20)


def parquet(path: Path, columns: dict[str, Any]) -> Shard:
    size = len(next(iter(columns.values())))
    pq.write_table(pa.table({"image": pa.array([b"i"] * size), **columns}), path)
    return Shard(url=str(path), name=path.name, format="parquet")


def arrow(path: Path, columns: dict[str, Any]) -> Shard:
    size = len(next(iter(columns.values())))
    table = pa.table({"image": pa.array([b"i"] * size), **columns})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)
    return Shard(url=str(path), name=path.name, format="arrow")


def tar(path: Path, samples: Sequence[dict[str, Any]], **members: str) -> Shard:
    found: list[tuple[str, bytes]] = []
    for index, fields in enumerate(samples):
        found.append((f"{index}.jpg", b"i"))
        found += [(f"{index}.{suffix}", text.encode()) for suffix, text in members.items()]
        found.append((f"{index}.json", json.dumps(fields).encode()))
    return tar_shard(path, found)


def carrying(shards: Sequence[Shard], *texts: str, **options: Any) -> ReadOptions:
    there = columns_of(shards, PLAIN)
    return ReadOptions(
        prompt="x", carried=choose_carried(parse_carry(texts), there, "image"), **options
    )


def read(shard: Shard, options: ReadOptions) -> tuple[list[Any], int]:
    """What each row carries, and how many values were lost."""
    tables = list(read_shard(shard, options))
    lost = sum(int((table.schema.metadata or {}).get(LOST, 0)) for table in tables)
    rows = [row for table in tables for row in table.to_pylist() if row["shard_rows"] is None]
    return [row[CARRIED] for row in rows], lost


@pytest.mark.parametrize("make", [parquet, arrow])
def test_types_are_kept(tmp_path: Path, make: Any) -> None:
    columns = {
        "number": pa.array([1, None], pa.int16()),
        "at": pa.array([DAY, None], pa.timestamp("us")),
        "tags": pa.array([["a", "b"], []], pa.list_(pa.string())),
        "pair": pa.array([{"x": 1.5}, None], pa.struct({"x": pa.float64()})),
        "word": pa.array(["b", "a"]).dictionary_encode(),
        "long": pa.array(["l", None], pa.large_string()),
    }
    shard = make(tmp_path / "s", columns)
    options = carrying([shard], "*")
    kinds = {c.name: c.kind for c in options.carried}
    expected = {name: array.type for name, array in columns.items()} | {"word": pa.string()}
    assert kinds == expected
    assert read(shard, options) == (
        [
            {"number": 1, "at": DAY, "tags": ["a", "b"], "pair": {"x": 1.5}, "word": "b",
             "long": "l"},
            {"number": None, "at": None, "tags": [], "pair": None, "word": "a", "long": None},
        ],
        0,
    )  # fmt: skip


def test_fields_of_a_tar(tmp_path: Path) -> None:
    samples = [
        {"id": 1, "score": 1, "ok": True, "alt": "cat", "tags": ["a"], "mixed": 1, "never": None},
        {"id": 2, "score": 0.5, "ok": False, "alt": None, "tags": {"b": 1}, "mixed": "x"},
        {"\ud800": "a name that is no Unicode is no column's"},
    ]
    shard = tar(tmp_path / "s.tar", samples, txt="old caption\n", cls="7")
    options = carrying([shard], "*")
    assert {c.name: str(c.kind) for c in options.carried} == {
        "txt": "string",
        "cls": "int64",
        "id": "int64",
        "score": "double",
        "ok": "bool",
        "alt": "string",
        "tags": "string",
        "mixed": "string",
        "never": "string",
    }
    first, second, _ = read(shard, options)[0]
    assert first == {
        "txt": "old caption",
        "cls": 7,
        "id": 1,
        "score": 1.0,
        "ok": True,
        "alt": "cat",
        "tags": '["a"]',
        "mixed": "1",
        "never": None,
    }
    assert (second["tags"], second["mixed"], second["alt"]) == ('{"b": 1}', "x", None)


def test_shards_may_lack_a_column_or_have_it_of_another_type(tmp_path: Path) -> None:
    shards = [
        parquet(tmp_path / "a", {"n": pa.array([1], pa.int8())}),
        parquet(tmp_path / "b", {"n": pa.array([2**40]), "url": pa.array(["u"])}),
        tar(tmp_path / "c.tar", [{"n": 3, "url": "v"}, {"n": True}, {"n": "3"}, {"n": 2**70}]),
    ]
    options = carrying(shards, "n", "url")
    assert {c.name: c.kind for c in options.carried} == {"n": pa.string(), "url": pa.string()}
    options = carrying(shards[:2], "n", "url")
    assert [c.kind for c in options.carried] == [pa.int64(), pa.string()]
    assert read(shards[0], options) == ([{"n": 1, "url": None}], 0)
    assert read(shards[1], options) == ([{"n": 2**40, "url": "u"}], 0)
    carried, lost = read(shards[2], options)
    assert [each["n"] for each in carried] == [3, None, 3, None]
    assert lost == 2


def test_values_that_do_not_fit_lose_no_row(tmp_path: Path) -> None:
    narrow = parquet(tmp_path / "a", {"n": pa.array([1])})
    wide = parquet(tmp_path / "b", {"n": pa.array([1.5, 2.0, None])})
    assert read(wide, carrying([narrow], "n")) == ([{"n": None}, {"n": 2}, {"n": None}], 1)


@pytest.mark.parametrize("make", [parquet, arrow])
@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x" * 101, "ok", None]),
        pa.array(["x" * 101, "ok", None]).dictionary_encode(),
        pa.array([["x" * 60, "x" * 60], ["ok"], None]),
    ],
)
def test_large_values_are_null_and_counted(tmp_path: Path, make: Any, column: pa.Array) -> None:
    shard = make(tmp_path / "s", {"alt": column})
    carried, lost = read(shard, carrying([shard], "alt", max_carried_bytes=100))
    assert [each["alt"] for each in carried] == [None, *column.to_pylist()[1:]]
    assert lost == 1


def test_a_large_value_in_a_tar_is_null_and_counted(tmp_path: Path) -> None:
    shard = tar(tmp_path / "s.tar", [{"alt": "x" * 101, "url": "u"}])
    options = carrying([shard], "alt", "url", max_carried_bytes=100)
    assert read(shard, options) == ([{"alt": None, "url": "u"}], 1)


def test_carried_bytes_end_a_table(tmp_path: Path) -> None:
    shard = parquet(tmp_path / "s", {"alt": pa.array(["x" * 40] * 6)})
    options = carrying([shard], "alt", batch_bytes=100)
    assert [table.num_rows for table in read_shard(shard, options)] == [3, 3, 1]


def test_broken_texts_are_null_and_counted(tmp_path: Path) -> None:
    broken = pa.array([b"ok", b"\xff"]).view(pa.string())
    shard = parquet(tmp_path / "s", {"alt": broken})
    assert read(shard, carrying([shard], "alt")) == ([{"alt": "ok"}, {"alt": None}], 1)


def test_rows_that_fail_carry_too(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([None, b"i"], pa.binary()), "url": ["u", "v"]})
    pq.write_table(table, tmp_path / "s")
    shard = Shard(url=str(tmp_path / "s"), name="s", format="parquet")
    assert read(shard, carrying([shard], "url"))[0] == [{"url": "u"}, {"url": "v"}]
    other = parquet(tmp_path / "t", {"url": pa.array(["w"])})
    options = ReadOptions(prompt="x", image_column="gone", carried=carrying([other], "url").carried)
    assert read(other, options)[0] == [{"url": "w"}]


def test_a_member_that_does_not_parse_leaves_its_row(tmp_path: Path) -> None:
    good = tar(tmp_path / "s.tar", [{"url": "u"}])
    bad = tar_shard(tmp_path / "b.tar", [("0.jpg", b"i"), ("0.json", b"{"), ("1.jpg", b"i")])
    assert read(bad, carrying([good], "url"))[0] == [{"url": None}] * 2


def test_loose_images_have_nothing_to_carry() -> None:
    shard = Shard(url="/x", name="x", format="images", files=("a.jpg",))
    with pytest.raises(InputError, match="loose images have no columns"):
        columns_of([shard], PLAIN)


def test_columns_of_broken_shards_are_those_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"PAR1")
    bad = Shard(url=str(tmp_path / "bad"), name="bad", format="parquet")
    good = parquet(tmp_path / "a", {"n": pa.array([1])})
    assert set(columns_of([bad, good], PLAIN)) == {"image", "n"}
