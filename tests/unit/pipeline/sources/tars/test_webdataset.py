"""Tars: what is a sample, what is read of it, and what becomes of broken archives."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from pipeline.sources import PASSED_OVER, ReadOptions, Shard, read_shard
from pipeline.sources.tars.webdataset import split_member
from tests.support.source_files import CAPTIONING, PROMPT, add_member, codes, read_rows, tar_shard

ASKING = ReadOptions(prompt_column="q")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("0001.jpg", ("0001", "jpg")),
        ("a/b.c/0001.SEG.Png", ("a/b.c/0001", "seg.png")),
        ("./0001.jpg", ("./0001", "jpg")),
        ("a.b\\c.jpg", ("a.b\\c", "jpg")),
        ("README", None),
        (".DS_Store", None),
        ("a/._0001.jpg", None),
        ("a.b/c", None),
    ],
)
def test_split_member(name: str, split: tuple[str, str] | None) -> None:
    assert split_member(name) == split


def test_samples_are_members_of_one_key(tmp_path: Path) -> None:
    members = [
        ("a.cls", b"7"),
        ("a.JPEG", b"first"),
        ("a.png", b"second image of a"),
        ("b/a.webp", b"third"),
        ("README", b"belongs to no sample"),
        ("c.txt", b"no image"),
        ("d.seg.png", b"mask"),
    ]
    rows = read_rows(tar_shard(tmp_path / "s.tar", members))
    assert [(row["image_id"], row["key"], row["image"]) for row in rows] == [
        ("s.tar#a", "a", b"first"),
        ("s.tar#a.png", "a.png", b"second image of a"),
        ("s.tar#b/a", "b/a", b"third"),
        ("s.tar#d.seg.png", "d.seg.png", b"mask"),
        ("s.tar#c", "c", None),
    ]
    assert [row["error_code"] for row in rows] == [*[None] * 4, "image_missing"]
    assert rows[4]["error_detail"] == "no image among the members: .txt"
    assert rows[0]["prompts"] == [PROMPT]
    assert rows[0]["row_ids"] == ["s.tar#a"]


def test_a_repeated_member_is_a_duplicate_not_an_update(tmp_path: Path) -> None:
    shard = tar_shard(tmp_path / "s.tar", [("a.jpg", b"1"), ("a.JPG", b"2"), ("b.jpg", b"3")])
    rows = read_rows(shard)
    assert codes(rows) == {"s.tar#a": None, "s.tar#a~2": "key_duplicate", "s.tar#b": None}
    assert rows[0]["image"] == b"1"


def test_oversize_members_are_skipped(tmp_path: Path) -> None:
    shard = tar_shard(tmp_path / "s.tar", [("a.jpg", b"x" * 11), ("b.jpg", b"x" * 10)])
    rows = read_rows(shard, dataclasses.replace(CAPTIONING, max_image_bytes=10))
    assert codes(rows) == {"s.tar#a": "image_too_many_bytes", "s.tar#b": None}
    assert rows[0]["error_detail"] == "11 bytes, the limit is 10"


def test_a_member_that_only_claims_to_be_huge_is_not_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a.jpg")
    member.size = 1 << 40
    path = tmp_path / "s.tar"
    path.write_bytes(member.tobuf() + bytes(4096))
    rows = read_rows(Shard(url=str(path), name="s.tar", format="webdataset"))
    assert codes(rows) == {"s.tar#a": "image_too_many_bytes", "s.tar#!truncated": "shard_truncated"}


def test_links_and_devices(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        add_member(tar, "a.jpg", b"1")
        for name, kind in (("b.jpg", tarfile.SYMTYPE), ("c.json", tarfile.FIFOTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
        folder = tarfile.TarInfo("folder.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    rows = read_rows(Shard(url=str(path), name="s.tar", format="webdataset"))
    code = "member_not_a_file"
    assert codes(rows) == {"s.tar#a": None, "s.tar#b": code, "s.tar#c": code}


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        add_member(tar, "a\udcff.jpg", b"1")
        add_member(tar, "ok.jpg", b"2")
    rows = read_rows(Shard(url=str(path), name="s.tar", format="webdataset"))
    assert codes(rows) == {"s.tar#a%FF": "key_unsafe", "s.tar#ok": None}


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_every_tar_dialect(tmp_path: Path, fmt: int) -> None:
    key = "d" * 60 + "/" + "e" * 90
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=fmt) as tar:
        add_member(tar, f"{key}.jpg", b"1")
    rows = read_rows(Shard(url=str(path), name="s.tar", format="webdataset"))
    assert codes(rows) == {f"s.tar#{key}": None}


MEMBERS = [("a.jpg", b"a" * 600), ("b.jpg", b"b" * 600), ("c.jpg", b"c" * 600)]


def cut(folder: Path, num_bytes: int, tail: bytes = b"") -> Shard:
    shard = tar_shard(folder / "s.tar", MEMBERS)
    path = Path(shard.url)
    path.write_bytes(path.read_bytes()[:num_bytes] + tail)
    return shard


MEMBER_BYTES = 512 + 1024


@pytest.mark.parametrize(
    ("num_bytes", "tail", "good"),
    [
        (MEMBER_BYTES + 700, b"", ["a"]),  # In the data of b.
        (MEMBER_BYTES + 512 + 600, b"", ["a", "b"]),  # In the padding after b.
        (MEMBER_BYTES * 2, b"", ["a", "b"]),  # Between two members.
        (MEMBER_BYTES * 2 + 100, b"", ["a", "b"]),  # In the header of c.
        (MEMBER_BYTES * 3, b"", ["a", "b", "c"]),  # Before the end mark.
        (MEMBER_BYTES, b"garbage!" * 256, ["a"]),  # Not cut, but overwritten.
        (512 + 100, b"", []),  # In the data of a.
    ],
)
def test_rows_before_a_break_are_good(
    tmp_path: Path, num_bytes: int, tail: bytes, good: list[str]
) -> None:
    rows = read_rows(cut(tmp_path, num_bytes, tail))
    expected = {f"s.tar#{key}": None for key in good} | {"s.tar#!truncated": "shard_truncated"}
    assert codes(rows) == expected


def test_sample_at_the_break_needs_its_prompt(tmp_path: Path) -> None:
    members = [("a.jpg", b"1"), ("a.json", b'{"q": "?"}'), ("b.jpg", b"2"), ("b.json", b"{}")]
    shard = tar_shard(tmp_path / "s.tar", members)
    path = Path(shard.url)
    path.write_bytes(path.read_bytes()[: 6 * 512 + 100])  # In the header of b.json.
    assert list(codes(read_rows(shard, ASKING))) == ["s.tar#a", "s.tar#!truncated"]
    assert list(codes(read_rows(shard))) == ["s.tar#a", "s.tar#b", "s.tar#!truncated"]


@pytest.mark.parametrize("data", [b"", b"x" * 100, b"<html>" * 500, b"\x1f\x8b" + b"x" * 600])
def test_file_that_is_no_tar(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s.tar").write_bytes(data)
    rows = read_rows(Shard(url=str(tmp_path / "s.tar"), name="s.tar", format="webdataset"))
    assert codes(rows) == {"s.tar#!corrupt": "shard_corrupt"}


def test_empty_tar_has_only_its_marker(tmp_path: Path) -> None:
    assert read_rows(tar_shard(tmp_path / "s.tar", [])) == []


def test_gzip_is_told_by_content_and_may_have_several_members(tmp_path: Path) -> None:
    data = Path(tar_shard(tmp_path / "plain.tar", MEMBERS).url).read_bytes()
    for name in ("s.tar.gz", "s.tgz", "s.tar"):
        (tmp_path / name).write_bytes(gzip.compress(data[:2000]) + gzip.compress(data[2000:]))
        rows = read_rows(Shard(url=str(tmp_path / name), name=name, format="webdataset"))
        assert codes(rows) == {f"{name}#{key}": None for key in "abc"}


def test_truncated_gzip(tmp_path: Path) -> None:
    data = gzip.compress(Path(tar_shard(tmp_path / "plain.tar", MEMBERS).url).read_bytes(), 0)
    (tmp_path / "s.tgz").write_bytes(data[: MEMBER_BYTES + 700])
    rows = read_rows(Shard(url=str(tmp_path / "s.tgz"), name="s.tgz", format="webdataset"))
    assert codes(rows) == {"s.tgz#a": None, "s.tgz#!truncated": "shard_truncated"}


def test_headers_that_would_fill_memory_are_a_break(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    first = io.BytesIO()
    with tarfile.open(fileobj=first, mode="w") as tar:
        add_member(tar, "a.jpg", b"1")
    path = tmp_path / "s.tar"
    path.write_bytes(first.getvalue()[:1024] + header.tobuf() + bytes(2048))
    rows = read_rows(Shard(url=str(path), name="s.tar", format="webdataset"))
    assert codes(rows) == {"s.tar#a": None, "s.tar#!truncated": "shard_truncated"}


def test_a_chain_of_headers_is_a_break(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    path = tmp_path / "s.tar"
    path.write_bytes((header.tobuf() + b"x".ljust(512, b"\0")) * 5000)
    rows = read_rows(Shard(url=str(path), name="s.tar", format="webdataset"))
    assert codes(rows) == {"s.tar#!corrupt": "shard_corrupt"}


def ask(folder: Path, *members: tuple[str, bytes], column: str = "q") -> list[dict[str, object]]:
    shard = tar_shard(folder / "s.tar", [("a.jpg", b"1"), *members])
    return read_rows(shard, ReadOptions(prompt_column=column))


def test_prompt_from_json_and_txt(tmp_path: Path) -> None:
    (row,) = ask(tmp_path, ("a.json", b'{"q": " What? "}'))
    assert (row["prompts"], row["row_ids"]) == ([" What? "], ["s.tar#a"])
    (row,) = ask(tmp_path, ("a.json", b"broken"), ("a.txt", "Où ?\n".encode()), column="txt")
    assert row["prompts"] == ["Où ?"]


def test_several_questions(tmp_path: Path) -> None:
    members = ("a.json", json.dumps({"q": ["One?", None, " ", "Two?", 3]}).encode())
    (row,) = ask(tmp_path, members)
    assert row["row_ids"] == [f"s.tar#a#q{i}" for i in range(5)]
    assert row["prompts"] == ["One?", None, None, "Two?", None]
    assert row["error_code"] is None


@pytest.mark.parametrize(
    ("members", "detail"),
    [
        ([], "the sample has no .json member"),
        ([("a.json", b"{")], "the .json member does not parse"),
        ([("a.json", b"[" * 100_000)], "the .json member does not parse"),
        ([("a.json", b"[]")], "the .json member has no field 'q'"),
        ([("a.json", b'{"Q": "?"}')], "the .json member has no field 'q'"),
        ([("a.json", b'{"q": null}')], "null"),
        ([("a.json", b'{"q": ""}')], "blank"),
        ([("a.json", b'{"q": []}')], "an empty list"),
        ([("a.json", b'{"q": 7}')], "a int, wanted text"),
        ([("a.json", b'{"q": "\\ud800"}')], "not valid Unicode"),
        ([("a.json", b'{"q": "' + b"x" * (1 << 20) + b'"}')], "the limit is 1048576"),
    ],
)
def test_no_prompt(tmp_path: Path, members: list[tuple[str, bytes]], detail: str) -> None:
    (row,) = ask(tmp_path, *members)
    assert (row["error_code"], row["prompts"]) == ("prompt_missing", [None])
    assert detail in str(row["error_detail"])


def test_txt_that_is_no_utf8(tmp_path: Path) -> None:
    (row,) = ask(tmp_path, ("a.txt", b"\xff\xfe?"), column="txt")
    assert row["error_code"] == "prompt_missing"


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (None, {"hidden": 2, ".npy": 1, "without an ending": 1}),
        ("jpg", {"hidden": 2, ".npy": 1, "without an ending": 1, "other images of a sample": 1}),
    ],
)
def test_members_that_are_no_row_are_counted(
    tmp_path: Path, member: str | None, expected: dict[str, int]
) -> None:
    names = ["a.jpg", "a.txt", "a.json", "a.depth.npy", "a.mask.png", "._a.jpg", ".x/.y", "README"]
    shard = tar_shard(tmp_path / "s.tar", ((name, b"x") for name in names))
    options = dataclasses.replace(CAPTIONING, image_member=member)
    *tables, end = read_shard(shard, options)
    assert all(PASSED_OVER not in (table.schema.metadata or {}) for table in tables)
    assert json.loads(end.schema.metadata[PASSED_OVER]) == expected
    assert sum(len(table) for table in tables) == (1 if member else 2)
