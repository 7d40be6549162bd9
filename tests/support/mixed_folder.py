"""A folder as people have them: 60 files, odd names, links, tars, broken ones; what is right."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from backports import zstd

from tests.support.bad_images import encode, heic
from tests.support.odd_pictures import PICTURE
from tests.support.source_files import add_member

__all__ = ["NUM_FILES", "PASSED", "SHARDS", "write_mixed"]

JPEG: Final = encode(PICTURE, "JPEG", quality=90)
_FORMATS: Final = {
    **dict.fromkeys(("jpg", "JPEG", "jpe", "jfif"), "JPEG"),
    "png": "PNG",
    "apng": "PNG",
    "webp": "WEBP",
    "gif": "GIF",
    "bmp": "BMP",
    "dib": "BMP",
    "tif": "TIFF",
    "tiff": "TIFF",
    "avif": "AVIF",
    "jp2": "JPEG2000",
}
_NAMES: Final = {
    **{name: name for name in ("_DSC0001.JPG", "a::b.jpg", "a#b.jpg", "50%.jpg", "a%20b.jpg")},
    **{name: name for name in ("what?.jpg", "a*b.jpg", "[x].jpg", "a b.jpg", "é日本.jpg")},
    **{name: name for name in ("x" * 251 + ".jpg", "s3:.jpg", "x.v2.jpg", "[D_DATA]/a.jpg")},
    "_sub/deep/b.jpg": "_sub/deep/b.jpg",
    "a\nb.jpg": "a%0Ab.jpg",
    os.fsdecode(b"caf\xe9.jpg"): "caf%E9.jpg",
}
_BROKEN: Final = {
    "half.jpg": (JPEG[:1000], "image_truncated"),
    "page.jpg": (b"<!doctype html><title>404</title>", "image_is_html"),
    "lfs.jpg": (b"version https://git-lfs.github.com/spec/v1\noid x\n", "image_is_lfs_pointer"),
    "empty.jpg": (b"", "image_empty"),
}
_LEFT: Final = (
    *("README.md", "1.xyz", "2.xyz", "3.xyz", "_SUCCESS", "film.mov"),
    *(".DS_Store", "._x.jpg", ".git/HEAD"),
)
PASSED: Final = {
    ".xyz": 3,
    "hidden": 3,
    "README.md": 1,
    "film.mov": 1,
    "link in a circle": 1,
    "_SUCCESS": 1,
}
SHARDS: Final = 14
NUM_FILES: Final = 60


def write_mixed(folder: Path) -> dict[str, str]:
    """Writes the files; returns "ok" or the error code of each row by its id."""
    ends = _write_images(folder) | _write_shards(folder) | _write_links(folder)
    for name in _LEFT:
        _write(folder, name, b"x")
    return ends


def _write_images(folder: Path) -> dict[str, str]:
    ends: dict[str, str] = {}
    for suffix, fmt in _FORMATS.items():
        _write(folder, f"photo.{suffix}", encode(PICTURE, fmt))
        ends[f"photo.{suffix}"] = "ok"
    _write(folder, "photo.HEIC", heic(PICTURE))
    for name, image_id in _NAMES.items():
        _write(folder, name, JPEG)
        ends[image_id] = "ok"
    for name, (data, code) in _BROKEN.items():
        _write(folder, name, data)
        ends[name] = code
    os.mkfifo(folder / "pipe.jpg")
    return ends | {"photo.HEIC": "ok", "pipe.jpg": "file_unreadable"}


def _write_shards(folder: Path) -> dict[str, str]:
    text = b'{"n": 1}'
    appended = _tar(["c0.jpg"]) + _tar(["c1.jpg"])
    alternating = _tar(["a.jpg", "b.jpg", ("a.json", text), ("b.json", text)])
    _write(folder, "dots.tar", _tar(["p.v2.jpg", ("p.v2.json", text), "q.01.jpg", "q.02.jpg"]))
    _write(folder, "sides.tar", _tar(["0.left.jpg", "0.right.jpg", ("0.json", text)]))
    _write(folder, "alternating.tar.gz", gzip.compress(alternating))
    _write(folder, "appended.tar", appended)
    _write(
        folder, "appended.tar.zst", zstd.compress(appended[:3000]) + zstd.compress(appended[3000:])
    )
    _write(folder, "_under.tgz", gzip.compress(_tar(["k.jpg", ("only.json", text)])))
    _write(folder, "cut.tar", _tar(["k.jpg", "l.jpg"])[: 512 * 6])
    pq.write_table(pa.table({"image": [JPEG, JPEG]}), folder / "t.pq")
    ok = (
        *("dots.tar#p.v2.jpg", "dots.tar#q.01.jpg", "dots.tar#q.02.jpg", "sides.tar#0.left.jpg"),
        *("sides.tar#0.right.jpg", "alternating.tar.gz#a", "alternating.tar.gz#b"),
        *("appended.tar#c0", "appended.tar#c1", "appended.tar.zst#c0", "appended.tar.zst#c1"),
        *("_under.tgz#k", "cut.tar#k", "t.pq#0", "t.pq#1"),
    )
    bad = {"_under.tgz#only": "image_missing", "cut.tar#!truncated": "shard_truncated"}
    return dict.fromkeys(ok, "ok") | bad


def _write_links(folder: Path) -> dict[str, str]:
    """To a file, to a tar, to a folder, in a circle, and to nothing."""
    away = folder.parent / "away"
    _write(away, "blob", JPEG)
    _write(away, "tarred", _tar(["k.jpg"]))
    _write(away, "more/m.jpg", JPEG)
    (folder / "link.jpg").symlink_to("../away/blob")
    (folder / "link.tar").symlink_to(away / "tarred")
    (folder / "linked").symlink_to(away / "more")
    (folder / "_sub/up").symlink_to("..")
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "gone.tar").symlink_to("nowhere")
    ok = dict.fromkeys(["link.jpg", "link.tar#k", "linked/m.jpg"], "ok")
    return ok | {"gone.jpg": "file_not_found", "gone.tar#!gone": "file_not_found"}


def _tar(members: Iterable[str | tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for each in members:
            add_member(tar, *(each if isinstance(each, tuple) else (each, JPEG)))
    return buffer.getvalue()


def _write(folder: Path, name: str, data: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
