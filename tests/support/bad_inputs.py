"""Shards as they should not be, and how each row of them must end.

The writers put the images of `CASES` into shards, add what only a shard can get wrong, and return
how each `image_id` must end: "ok" or a row error code. Ids are relative to the folder written to.
"""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.bad_images import CASES, GOOD, OK, Case

__all__ = [
    "CASES",
    "GOOD",
    "OK",
    "QUESTION",
    "Case",
    "pickle_bomb",
    "write_image_folder",
    "write_parquet",
    "write_webdataset",
]

QUESTION = "What is shown?"


class _Bomb:
    """Unpickling this writes the file named."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return os.mkdir, (self._path,)


def pickle_bomb(path: Path) -> bytes:
    """Bytes whose unpickling creates the directory `path`."""
    return pickle.dumps(_Bomb(str(path)))


def write_webdataset(
    folder: Path, *, unpickled: Path | None = None, questions: bool = False
) -> dict[str, str]:
    """Writes four tars.

    Args:
        folder: Where to.
        unpickled: What reading the pickle among the members would create.
        questions: Adds a .json member with the field `question` to every sample, and a sample
            where it is null; to be read with `prompt_column="question"`.
    """
    expected: dict[str, str] = {}
    bomb = pickle_bomb(unpickled or folder / "unpickled")
    with tarfile.open(folder / "cases.tar", "w") as tar:
        for case in CASES:
            _add_sample(tar, case.name, case.suffix, case.data, questions)
            expected[f"cases.tar#{case.name}"] = case.expected
        _add(tar, "with_pickle.pkl", bomb)
        _add_sample(tar, "with_pickle", ".jpg", GOOD, questions)
        expected["cases.tar#with_pickle"] = OK
        if questions:
            _add(tar, "null_question.jpg", GOOD)
            _add(tar, "null_question.json", b'{"question": null}')
            expected["cases.tar#null_question"] = "prompt_missing"
    expected |= _write_bad_members(folder / "members.tar", bomb, questions)
    return expected | _write_broken_tars(folder, questions)


def write_parquet(folder: Path, *, questions: bool = False) -> dict[str, str]:
    """Writes four Parquet files; see `write_webdataset` for `questions`."""
    keys = [case.name for case in CASES] + ["null_image", "plain_jpeg", "new\nline"]
    images = [case.data for case in CASES] + [None, GOOD, GOOD]
    ends = [case.expected for case in CASES] + ["image_missing", "key_duplicate", "key_unsafe"]
    ids = [*keys[:-2], "plain_jpeg~2", "new%0Aline"]
    prompts: list[str | None] = [QUESTION] * len(keys)
    if questions:
        for name, question in (("null_question", None), ("blank_question", " ")):
            keys.append(name)
            ids.append(name)
            images.append(GOOD)
            prompts.append(question)
            ends.append("prompt_missing")
    table = pa.table({"id": keys, "image": pa.array(images, pa.binary()), "question": prompts})
    pq.write_table(table, folder / "cases.parquet", row_group_size=8)
    expected = {f"cases.parquet#{key}": end for key, end in zip(ids, ends, strict=True)}
    return expected | _write_broken_parquet(folder)


def write_image_folder(folder: Path) -> dict[str, str]:
    """Writes one file per case, beside files that are no images and must not be listed."""
    for case in CASES:
        (folder / case.file_name).write_bytes(case.data)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_bytes(GOOD)
    return {case.file_name: case.expected for case in CASES}


def _write_bad_members(path: Path, bomb: bytes, questions: bool) -> dict[str, str]:
    shard = path.name
    with tarfile.open(path, "w") as tar:
        _add_sample(tar, "twice", ".jpg", GOOD, questions)
        _add_sample(tar, "between", ".jpg", GOOD, questions)
        _add_sample(tar, "twice", ".jpg", GOOD, questions)
        _add_sample(tar, "twice", ".jpg", GOOD, questions)
        _add_sample(tar, "../../climbs", ".jpg", GOOD, questions)
        _add_sample(tar, "/absolute", ".jpg", GOOD, questions)
        _add_sample(tar, "..\\climbs", ".jpg", GOOD, questions)
        _add_sample(tar, "new\nline", ".jpg", GOOD, questions)
        _add(tar, "no_image.pkl", bomb)
        _add_link(tar, "link.jpg", "/etc/passwd", tarfile.SYMTYPE)
        _add_link(tar, "hard.jpg", "twice.jpg", tarfile.LNKTYPE)
        _add_link(tar, "device.jpg", "", tarfile.CHRTYPE)
        _add_sample(tar, "last", ".jpg", GOOD, questions)
    ends = {
        "twice": OK,
        "between": OK,
        "twice~2": "key_duplicate",
        "twice~3": "key_duplicate",
        "%2E%2E/%2E%2E/climbs": "key_unsafe",
        "%2Fabsolute": "key_unsafe",
        "%2E%2E\\climbs": "key_unsafe",
        "new%0Aline": "key_unsafe",
        "no_image": "image_missing",
        "link": "member_not_a_file",
        "hard": "member_not_a_file",
        "device": "member_not_a_file",
        "last": OK,
    }
    return {f"{shard}#{key}": end for key, end in ends.items()}


def _write_broken_tars(folder: Path, questions: bool) -> dict[str, str]:
    whole = folder / "truncated.tar"
    with tarfile.open(whole, "w") as tar:
        _add_sample(tar, "before", ".jpg", GOOD, questions)
        start = tar.offset
        _add(tar, "cut.jpg", GOOD)
    data = whole.read_bytes()
    whole.write_bytes(data[: start + 512 + len(GOOD) // 2])
    (folder / "no_tar.tar").write_bytes(b"<html>502 Bad Gateway</html>" * 64)
    return {
        "truncated.tar#before": OK,
        "truncated.tar#!truncated": "shard_truncated",
        "no_tar.tar#!corrupt": "shard_corrupt",
    }


def _write_broken_parquet(folder: Path) -> dict[str, str]:
    (folder / "no_parquet.parquet").write_bytes(b"<html>502 Bad Gateway</html>" * 64)
    columns = {"id": ["a", "b"], "question": [QUESTION, QUESTION]}
    pq.write_table(pa.table(columns), folder / "no_image_column.parquet")
    pq.write_table(pa.table({**columns, "image": ["a.jpg", "b.jpg"]}), folder / "paths.parquet")
    return {"no_parquet.parquet#!corrupt": "shard_corrupt"} | {
        f"{shard}.parquet#{key}": code
        for shard, code in (("no_image_column", "column_missing"), ("paths", "file_not_found"))
        for key in ("a", "b")
    }


def _add_sample(tar: tarfile.TarFile, key: str, suffix: str, image: bytes, questions: bool) -> None:
    _add(tar, key + suffix, image)
    if questions:
        _add(tar, f"{key}.json", b'{"question": "%s"}' % QUESTION.encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _add_link(tar: tarfile.TarFile, name: str, target: str, kind: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    tar.addfile(member)
