"""Tars as people write them: dots in names, several images, members that alternate, appended."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import io
import json
import struct
import tarfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from backports import zstd

from pipeline.sources import ReadOptions, Shard, columns_of, read_shard
from pipeline.sources.carried.request import CarriedColumn
from pipeline.sources.shard import MIB
from pipeline.sources.tars import joining
from pipeline.sources.tars.joining import Joiner, Part
from tests.support.source_files import CAPTIONING, add_member, codes, read_rows, tar_shard

ASKING = ReadOptions(prompt_column="q")
Members = Sequence[tuple[str, bytes]]


def question(text: str) -> bytes:
    return json.dumps({"q": text}).encode()


def read(folder: Path, members: Members, options: ReadOptions = CAPTIONING) -> list[dict[str, Any]]:
    return read_rows(tar_shard(folder / "s.tar", members), options)


def asked(rows: list[dict[str, Any]]) -> dict[str, str | None]:
    """Key -> what is asked, or the code."""
    return {row["key"]: row["error_code"] or row["prompts"][0] for row in rows}


DOTS = [
    ("photo.v2.jpg", b"1"),
    ("photo.v2.json", question("v2?")),
    ("IMG_2023.01.02.jpg", b"2"),
    ("IMG_2023.01.03.jpg", b"3"),
    ("ok.jpg", b"4"),
]
LEFT_RIGHT = [("0.left.jpg", b"l"), ("0.right.JPG", b"r"), ("0.json", question("0?"))]
INTERLEAVED = [
    ("a.jpg", b"a"),
    ("b.jpg", b"b"),
    ("a.json", question("a?")),
    ("b.json", question("b?")),
]


def test_keys_with_dots(tmp_path: Path) -> None:
    keys = ["photo.v2.jpg", "IMG_2023.01.02.jpg", "IMG_2023.01.03.jpg", "ok"]
    assert codes(read(tmp_path, DOTS)) == {f"s.tar#{key}": None for key in keys}
    found = asked(read(tmp_path, DOTS, ASKING))
    assert found["photo.v2.jpg"] == "v2?" and found["ok"] == "prompt_missing"
    last = dataclasses.replace(ASKING, tar_keys="last-dot")
    assert asked(read(tmp_path, DOTS, last)) == {
        "photo.v2": "v2?",
        **dict.fromkeys(["IMG_2023.01.02", "IMG_2023.01.03", "ok"], "prompt_missing"),
    }


def test_several_images_of_a_sample_are_told_apart_by_member(tmp_path: Path) -> None:
    rows = read(tmp_path, LEFT_RIGHT, ASKING)
    assert asked(rows) == {"0.left.jpg": "0?", "0.right.JPG": "0?"}
    assert [row["image"] for row in rows] == [b"l", b"r"]
    members = [("d/a.jpg", b"1"), ("d/a.seg.png", b"2"), ("d/a.png", b"3"), ("d/a.json", b"{}")]
    assert [row["key"] for row in read(tmp_path, members)] == ["d/a", "d/a.seg.png", "d/a.png"]


@pytest.mark.parametrize("member", ["right.jpg", "right.*", "RIGHT.JPG", ".right.jpg", "*"])
def test_one_image_of_a_sample(tmp_path: Path, member: str) -> None:
    one = dataclasses.replace(ASKING, image_member=member)
    (row,) = read(tmp_path, LEFT_RIGHT, one)
    assert (row["key"], row["image"]) == ("0", b"l" if member == "*" else b"r")
    rows = read(
        tmp_path, [*LEFT_RIGHT, ("1.jpg", b"x")], dataclasses.replace(one, image_member="x")
    )
    assert {row["error_code"] for row in rows} == {"image_missing"}
    assert rows[0]["error_detail"] == (
        "no image 'x' among the members: .left.jpg, .right.jpg, .json"
    )


def test_own_texts_come_before_shared_ones(tmp_path: Path) -> None:
    members = [*LEFT_RIGHT, ("0.right.json", question("right?"))]
    assert asked(read(tmp_path, members[::-1], ASKING)) == {
        "0.left.jpg": "0?",
        "0.right.JPG": "right?",
    }


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 3, 0, 1), (0, 3, 1, 2), (3, 2, 1, 0)])
def test_members_that_alternate(tmp_path: Path, order: tuple[int, ...]) -> None:
    rows = read(tmp_path, [INTERLEAVED[i] for i in order], ASKING)
    assert asked(rows) == {"a": "a?", "b": "b?"}
    assert {row["key"]: row["image"] for row in rows} == {"a": b"a", "b": b"b"}
    assert len(read(tmp_path, [INTERLEAVED[i] for i in order])) == 2


def test_captions_that_are_there_are_carried(tmp_path: Path) -> None:
    """Of `.txt` and `.json`, for every image of a sample, wherever they stand."""
    members = [
        *(("0.left.jpg", b"l"), ("1.jpg", b"1"), ("0.right.jpg", b"r"), ("1.txt", b"one\n")),
        *(("0.txt", b"zero"), ("0.json", b'{"n": 7}'), ("2.jpg", b"2")),
    ]
    shard = tar_shard(tmp_path / "s.tar", members)
    columns = (
        CarriedColumn(source="txt", name="alt", kind=pa.string()),
        CarriedColumn(source="n", name="n", kind=pa.int64()),
    )
    options = dataclasses.replace(CAPTIONING, carried=columns)
    there = columns_of([shard], options)
    assert there["txt"] == pa.string() and there["n"] == pa.int64()
    rows = [row for table in read_shard(shard, options) for row in table.to_pylist()]
    found = {row["key"]: tuple(row["carried"].values()) for row in rows if row["key"]}
    assert found == {
        "0.left.jpg": ("zero", 7),
        "0.right.jpg": ("zero", 7),
        "1": ("one", None),
        "2": (None, None),
    }


def test_members_that_are_too_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Joiner.__init__, "__defaults__", (None, 30))
    members = [*((f"{i}.jpg", b"x" * 10) for i in range(6)), ("5.json", question("5?"))]
    members += [("0.json", question("0?"))]
    rows = read(tmp_path, members, ASKING)
    assert asked(rows) == {str(i): "prompt_missing" for i in range(5)} | {"5": "5?"}
    assert rows[0]["error_detail"] == "the sample has no .json member within 64 MiB"
    assert joining.WINDOW_BYTES == 64 * MIB


def test_texts_without_an_image_are_one_row(tmp_path: Path) -> None:
    members = [("a.json", b"{}"), ("b.jpg", b"b"), ("c.txt", b"c"), ("a.txt", b"a")]
    rows = read(tmp_path, members)
    assert codes(rows) == {
        "s.tar#b": None,
        "s.tar#a": "image_missing",
        "s.tar#c": "image_missing",
    }
    assert rows[1]["error_detail"] == "no image among the members: .json, .txt"


def test_what_a_joiner_holds_is_bounded() -> None:
    joiner = Joiner(frozenset({"json"}), window_bytes=10 * MIB)
    tracemalloc.start()
    for i in range(300):
        for _ in joiner.add(Part(str(i), "jpg", "jpg", bytes(MIB))):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 14 * MIB


def test_a_joiner_of_many_samples_holds_little_of_each() -> None:
    joiner = Joiner(frozenset())
    keys = [f"{i:08}" for i in range(60_000)]
    tracemalloc.start()
    for key in keys:
        for _ in joiner.add(Part(key, "jpg", "jpg", b"")):
            pass
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20 * MIB


def packed(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            add_member(tar, name, data)
    return buffer.getvalue()


def shard_of(folder: Path, data: bytes, name: str = "s.tar") -> Shard:
    (folder / name).write_bytes(data)
    return Shard(url=str(folder / name), name=name, format="webdataset")


ONE, TWO = packed([("c0.jpg", b"0" * 600)]), packed([("c1.jpg", b"1" * 600)])
SKIPPABLE = struct.pack("<II", 0x184D2A50, 4) + b"skip"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "bzip2": bz2.compress,
    "pzstd": lambda data: SKIPPABLE + zstd.compress(data),
}


@pytest.mark.parametrize("kind", PACKERS)
def test_tars_that_were_put_behind_each_other(tmp_path: Path, kind: str) -> None:
    """`cat a.tar b.tar`, packed before or after."""
    pack = PACKERS[kind]
    both = {"s.tar#c0": None, "s.tar#c1": None}
    for data in (pack(ONE + TWO), pack(ONE) + pack(TWO), pack(ONE[:700]) + pack(ONE[700:] + TWO)):
        assert codes(read_rows(shard_of(tmp_path, data))) == both
    without_end = ONE[: 3 * 512]
    assert codes(read_rows(shard_of(tmp_path, pack(without_end + TWO)))) == both
    empty = packed([])
    assert codes(read_rows(shard_of(tmp_path, pack(empty + ONE + empty + TWO)))) == both
    again = codes(read_rows(shard_of(tmp_path, pack(ONE + ONE))))
    assert again == {"s.tar#c0": None, "s.tar#c0~2": "key_duplicate"}


@pytest.mark.parametrize("kind", PACKERS)
def test_what_is_behind_the_end_and_no_tar_is_told(tmp_path: Path, kind: str) -> None:
    for tail in (b"garbage!" * 64, b"garbage", TWO[:100], TWO[:700]):
        rows = read_rows(shard_of(tmp_path, PACKERS[kind](ONE + tail)))
        assert codes(rows) == {"s.tar#c0": None, "s.tar#!truncated": "shard_truncated"}


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2"])
def test_packed_tars_that_are_cut(tmp_path: Path, kind: str) -> None:
    data = PACKERS[kind](ONE) + PACKERS[kind](TWO)[:-10]
    rows = codes(read_rows(shard_of(tmp_path, data)))
    assert rows["s.tar#c0"] is None and rows["s.tar#!truncated"] == "shard_truncated"


def test_zeros_without_end(tmp_path: Path) -> None:
    """A download that was given its size and never its content."""
    path = tmp_path / "s.tar"
    path.write_bytes(ONE)
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    rows = read_rows(Shard(url=str(path), name="s.tar", format="webdataset"))
    assert codes(rows) == {"s.tar#c0": None, "s.tar#!truncated": "shard_truncated"}
    assert "bytes of zeros" in rows[1]["error_detail"]


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of any size is skipped, but not for ever."""
    monkeypatch.setattr("pipeline.sources.tars.unpacking._RATIO_FROM_BYTES", 16 * MIB)
    member = tarfile.TarInfo("b.raw")
    member.size = 256 * MIB
    data = ONE[: 3 * 512] + member.tobuf() + bytes(member.size)
    rows = read_rows(shard_of(tmp_path, zstd.compress(data)))
    assert codes(rows) == {"s.tar#c0": None, "s.tar#!truncated": "shard_truncated"}
    assert "unpacks to more than 2000 times" in rows[1]["error_detail"]
    less = codes(read_rows(shard_of(tmp_path, gzip.compress(data + bytes(1024), 1))))
    assert less == {"s.tar#c0": None, "s.tar#b": "image_missing"}


def test_a_window_that_would_fill_memory(tmp_path: Path) -> None:
    options = {zstd.CompressionParameter.window_log: 30}
    data = zstd.compress(ONE + bytes(1 << 28), options=options)
    rows = read_rows(shard_of(tmp_path, data))
    assert codes(rows) == {"s.tar#!corrupt": "shard_corrupt"}
    assert "ZstdError" in rows[0]["error_detail"]
