"""Folders with odd files in them: every one is read, told as a row, or counted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.rows.errors import InputError, StorageError
from pipeline.sources import ReadOptions, check_columns, count_rows, list_input
from tests.support.source_files import PROMPT, codes, read_rows, tar_shard

CAPTIONING = ReadOptions(prompt=PROMPT)


def read(*inputs: object) -> dict[str, str | None]:
    """Error code, or None, of every row by its id."""
    found: dict[str, str | None] = {}
    for shard in list_input([str(each) for each in inputs], storage_options={}).shards:
        found |= codes(read_rows(shard))
    return found


def passed(*inputs: object) -> dict[str, int]:
    return dict(list_input([str(each) for each in inputs], storage_options={}).passed_over)


def make(folder: Path, *names: str | bytes) -> None:
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")


ODD = [
    *("a::b.jpg", "a#b.jpg", "50%.jpg", "a%20b.jpg", "what?.jpg", "a*b.jpg", "[x].jpg", "a b .jpg"),
    *(
        "_DSC0001.JPG",
        "photo.jfif",
        "x" * 251 + ".jpg",
        "é日本.jpe",
        "s3:.avif",
        "~x.heic",
        "$a.jp2",
    ),
]


def test_odd_names_are_read_under_ids_that_are_their_paths(tmp_path: Path) -> None:
    make(tmp_path, *ODD, *(f"[D_DATA]/{name}" for name in ODD))
    expected = dict.fromkeys([*ODD, *(f"[D_DATA]/{name}" for name in ODD)])
    assert read(tmp_path) == expected
    assert read(tmp_path / "[D_DATA]") == dict.fromkeys(ODD)
    named = [tmp_path / name for name in ODD]  # as a shell hands them over
    assert read(*named) == dict.fromkeys(ODD)


@pytest.mark.parametrize(
    "pattern", ["[D_DATA]/*.jpg", "[D_DATA]/**/*.jpg", "[D_DATA]/?.jpg", "[D_DATA]"]
)
def test_a_folder_that_looks_like_a_pattern(tmp_path: Path, pattern: str) -> None:
    make(tmp_path, "[D_DATA]/a.jpg", "D/b.jpg")
    assert read(tmp_path / pattern) == {"a.jpg": None}
    assert read(tmp_path / "[D_D]/*.jpg") == {"D/b.jpg": None}


def test_names_that_are_no_text(tmp_path: Path) -> None:
    make(tmp_path, "a\nb.jpg", b"caf\xe9.jpg", "a%0Ab.jpg", b"d\xff/x.jpg")
    expected = dict.fromkeys(["a%0Ab.jpg", "caf%E9.jpg", "a%250Ab.jpg", "d%FF/x.jpg"])
    assert read(tmp_path) == expected


def test_links_are_followed(tmp_path: Path) -> None:
    """As in a snapshot of a Hugging Face cache, where all are links."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/main"
    make(tmp_path, "blobs/1", "blobs/2", "elsewhere/z.jpg")
    tar_shard(blobs / "3", [("k.jpg", b"x")])
    snapshot.mkdir(parents=True)
    (snapshot / "a.jpg").symlink_to("../../blobs/1")
    (snapshot / "b.png").symlink_to("a.jpg")
    (snapshot / "c.tar").symlink_to(blobs / "3")
    (snapshot / "more").symlink_to(tmp_path / "elsewhere")
    found = dict.fromkeys(["a.jpg", "b.png", "c.tar#k", "more/z.jpg"])
    assert read(snapshot) == found
    assert read(snapshot / "*.jpg", snapshot / "c.tar") == {"a.jpg": None, "c.tar#k": None}
    assert read(snapshot / "**/*.jpg") == {"a.jpg": None, "more/z.jpg": None}
    assert read(snapshot / "more") == {"z.jpg": None}


def test_a_link_changes_with_what_it_leads_to(tmp_path: Path) -> None:
    make(tmp_path, "blob", "in/x")
    (tmp_path / "in/a.tar").symlink_to(tmp_path / "blob")
    (before,) = list_input([str(tmp_path / "in")], storage_options={}).shards
    (tmp_path / "blob").write_bytes(b"other")
    (after,) = list_input([str(tmp_path / "in")], storage_options={}).shards
    assert (before.size_bytes, after.size_bytes) == (1, 5)
    assert before.signature != after.signature


def test_links_in_a_circle_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/x").symlink_to("../b")
    (tmp_path / "b/y").symlink_to("../a")
    assert read(tmp_path / "a") == {"1.jpg": None, "x/2.jpg": None}
    assert passed(tmp_path / "a") == {"link in a circle": 3}
    assert list(read(tmp_path)) == ["a/1.jpg", "a/x/2.jpg", "b/2.jpg", "b/y/1.jpg"]


def test_dangling_links_are_rows_of_their_own(tmp_path: Path) -> None:
    make(tmp_path, "sound.jpg")
    for name in ("a.jpg", "b.tar", "c.parquet", "d.arrow"):
        (tmp_path / name).symlink_to("gone")
    (tmp_path / "e.png").symlink_to("e.png")
    (tmp_path / "f.txt").symlink_to("gone")
    gone = {f"{name}#!gone": "file_not_found" for name in ("b.tar", "c.parquet", "d.arrow")}
    images = {"a.jpg": "file_not_found", "e.png": "file_unreadable", "sound.jpg": None}
    assert read(tmp_path) == gone | images
    assert read(tmp_path / "a.jpg", tmp_path / "sound.jpg") == {
        "a.jpg": "file_not_found",
        "sound.jpg": None,
    }
    assert passed(tmp_path) == {"f.txt": 1}


def test_the_plan_goes_past_what_does_not_open(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    (tmp_path / "c.parquet").symlink_to("gone")
    (tmp_path / "d.arrow").symlink_to("gone")
    shards = list_input([str(tmp_path)], storage_options={}).shards
    check_columns(shards, CAPTIONING)
    assert [count_rows(shard, CAPTIONING) for shard in shards] == [1, 1, 1]


def test_pipes_and_sockets_are_not_waited_for(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "b.jpg")
    os.mkfifo(tmp_path / "c.tar")
    assert read(tmp_path) == {
        "c.tar#!unreadable": "file_unreadable",
        "a.jpg": None,
        "b.jpg": "file_unreadable",
    }


def test_what_a_user_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a.jpg", "b.jpg", "locked/c.jpg")
    if os.geteuid() == 0:  # For whom nothing is locked: the calls are refused in its place.
        refuse(monkeypatch, tmp_path / "b.jpg", tmp_path / "locked")
    else:
        (tmp_path / "b.jpg").chmod(0)
        (tmp_path / "locked").chmod(0)
    assert read(tmp_path) == {"a.jpg": None, "b.jpg": "file_unreadable"}
    assert passed(tmp_path) == {"folder without permission": 1}
    (tmp_path / "locked").chmod(0o700)


def refuse(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    from fsspec.implementations.local import LocalFileSystem

    for name in ("ls", "open"):
        real = getattr(LocalFileSystem, name)

        def call(
            self: object, path: str, *args: Any, real: Callable[..., Any] = real, **more: Any
        ) -> Any:
            if path in map(str, paths):
                raise PermissionError(13, "Permission denied", path)
            return real(self, path, *args, **more)

        monkeypatch.setattr(LocalFileSystem, name, call)


def test_a_disk_that_is_gone_stops_the_job(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg")
    (shard,) = list_input([str(tmp_path / "in")], storage_options={}).shards
    (tmp_path / "in").rename(tmp_path / "away")
    with pytest.raises(StorageError, match="cannot open"):
        read_rows(shard)


def test_what_is_passed_over_is_counted_by_ending(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "1.xyz", "2.XYZ", "b/3.xyz", "README.md", "LICENSE", "._a.jpg")
    make(tmp_path, ".DS_Store", ".git/HEAD", "b.tar.xz", "c.tar.xz", "__MACOSX/._a.jpg", "blob")
    assert passed(tmp_path) == {
        "hidden": 4, ".xyz": 3, ".tar.xz": 2, "without an ending": 2, "README.md": 1,
    }  # fmt: skip
    assert passed(tmp_path, tmp_path / "._a.jpg") == passed(tmp_path) | {"hidden": 3}
    with pytest.raises(InputError, match=r"passed over: 3 \.xyz|passed over: 1 3\.xyz"):
        read(tmp_path / "b")


def test_many_rare_endings_are_one_number(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", *(f"{i}.e{i}" for i in range(50)))
    found = passed(tmp_path)
    assert len(found) == 21 and sum(found.values()) == 50 and found["others"] == 30


@pytest.mark.parametrize("suffix", ["pq", "parq", "tar.zst", "tzst", "tar.bz2", "tgz", "tar.gz"])
def test_endings_of_shards(tmp_path: Path, suffix: str) -> None:
    make(tmp_path, f"x.{suffix.upper()}", f"_y.{suffix}")
    assert len(list_input([str(tmp_path)], storage_options={}).shards) == 2


def test_braces_stand_for_several_paths(tmp_path: Path) -> None:
    for i in range(13):
        tar_shard(tmp_path / f"{i:02}.tar", [("k.jpg", b"x")])
    make(tmp_path, "{1,2}.jpg", "en/a.jpg", "de/a.jpg")
    assert list(read(tmp_path / "{00..02}.tar")) == [f"{i:02}.tar#k" for i in range(3)]
    assert list(read(tmp_path / "{en,de}")) == ["de/a.jpg", "en/a.jpg"]
    assert list(read(tmp_path / "{en,de}/*.jpg")) == ["de/a.jpg", "en/a.jpg"]
    assert list(read(tmp_path / "{1,2}.jpg")) == ["{1,2}.jpg"]
    with pytest.raises(InputError, match=r"nothing matches .*13\.tar"):
        read(tmp_path / "{00..13}.tar")
    with pytest.raises(InputError, match="stands for more than 100,000 paths"):
        read(tmp_path / "{0..99999999}.tar")
    with pytest.raises(InputError, match=r"nothing matches .*\{0"):
        read(tmp_path / "{0..5.jpg")


def test_chained_urls_are_refused_but_not_names(tmp_path: Path) -> None:
    for url in ("simplecache::s3://b/x.tar", "zip://a.jpg::file:///x.zip"):
        with pytest.raises(InputError, match="chained URLs are not supported"):
            read(url)
