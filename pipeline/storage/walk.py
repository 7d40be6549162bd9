"""Listing folders and patterns without leaving anything out.

fsspec's own `find` and `glob` take a folder that fails to list for an empty one: its shards would
be missing from a run that says it is done. And they know no links: its `ls` calls them "other".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.utils import glob_translate

from pipeline.storage.files import is_local, protocols, retry_of
from pipeline.storage.links import BROKEN, LOCKED, LOOP, Trail, followed, is_link

__all__ = [
    "exists",
    "expand",
    "file_info",
    "literal_length",
    "ls",
    "missing_bucket",
    "plain_path",
    "walk",
]

T = TypeVar("T")
Infos = dict[str, dict[str, Any]]
_WILD: Final = r"[*?\[]"


def exists(fs: Any, path: str) -> bool:
    """fsspec's `exists`, but a failure to tell is no "no"."""
    try:
        _retried(fs, lambda: fs.info(path))
    except FileNotFoundError:
        return False
    return True


def missing_bucket(fs: Any, path: str) -> str | None:
    """The bucket or container of `path`, if it is not there; None if it is, or may be.

    An object store says of a key in no bucket what it says of no key.
    """
    bucket = path.partition("/")[0]
    if not bucket or not {"s3", "gs", "abfs"} & set(protocols(fs)):
        return None
    try:
        return None if exists(fs, bucket) else bucket
    except Exception:  # Who may not see it cannot tell.
        return None


def file_info(fs: Any, path: str) -> dict[str, Any]:
    """What the file system tells of a file or folder, asked afresh; of a link, what it leads to.

    Raises:
        FileNotFoundError: if it is not there.
    """
    if is_local(fs) and is_link(path):
        return followed(fs, path, {"type": BROKEN, "islink": True})
    return dict(_retried(fs, lambda: fs.info(path)))


def plain_path(fs: Any, url: str) -> str:
    """`url` as this file system spells paths."""
    return str(fs._strip_protocol(url))


def ls(fs: Any, path: str) -> list[dict[str, Any]]:
    """What lies in the folder.

    Raises:
        FileNotFoundError: if it is not there.
    """
    return list(_retried(fs, lambda: fs.ls(path, detail=True)))


def walk(fs: Any, path: str) -> Infos:
    """All files below the folder, by path; and what is no file and no folder, with its `type`.

    Links are followed. One that leads back to a folder it lies in is a `LOOP`, one that leads
    nowhere is `BROKEN`, and a folder of this machine's disk that may not be listed is `LOCKED`.
    """
    if not _lists_flat(fs):
        found = dict(_below(fs, path))
    else:
        found = _retried(fs, lambda: fs.find(path, detail=True))
    return {path: info for path, info in found.items() if info["type"] != "directory"}


def literal_length(fs: Any, url: str) -> int:
    """How many parts of the pattern's path, from the first on, are no pattern.

    One with '[' or '?' is none where it is there as it is spelled.
    """
    path = plain_path(fs, url)
    parts = path.split("/")
    for length, part in enumerate(parts):
        if not re.search(_WILD, part):
            continue
        may_be_there = "*" not in part and length > 0 and "://" not in path
        if not may_be_there or not exists(fs, "/".join(parts[: length + 1])):
            return length
    return len(parts)


def expand(fs: Any, url: str) -> Infos:
    """Files and folders that match the pattern, by path."""
    parts = plain_path(fs, url).split("/")
    first = literal_length(fs, url)
    base = "/".join(parts[:first]) or fs.root_marker
    is_web = "://" in base  # No folders, but pages with links, which fsspec knows how to read.
    # Buckets are not searched for (first == 0): fsspec says so itself.
    is_flat = "**" in url and _lists_flat(fs)
    if is_web or first == 0 or (is_flat and not re.search(_WILD, base)):
        level: Infos = _retried(fs, lambda: fs.glob(url, detail=True))
    elif "**" in url:
        matches = re.compile(glob_translate("/".join(parts[first:]))).fullmatch
        start = len(base.rstrip("/")) + 1
        there = walk(fs, base).items() if is_flat else _below(fs, base)
        level = {path: info for path, info in there if matches(path[start:])}
    else:
        level = _by_level(fs, base, parts[first:])
    only_folders = url.endswith("/")
    return {p: i for p, i in level.items() if not only_folders or i["type"] == "directory"}


def _by_level(fs: Any, base: str, parts: list[str]) -> Infos:
    level: Infos = {base: {"type": "directory"}}
    for part in parts:
        matches = re.compile(glob_translate(part)).fullmatch
        folders = [folder for folder, info in level.items() if info["type"] == "directory"]
        level = {
            path: info
            for folder in folders
            for path, info in _listed(fs, folder)
            if (name := path.rpartition("/")[2]) == part or matches(name)
        }
    return level


def _below(fs: Any, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything below the folder, folder by folder."""
    left = [(folder, Trail())]
    while left:
        current, trail = left.pop()
        try:
            infos = list(_listed(fs, current))
        except PermissionError:
            if current == folder or not is_local(fs):
                raise
            yield current, {"type": LOCKED}
            continue
        for path, info in infos:
            inner = trail.into(path, info)
            yield path, info if inner else {**info, "type": LOOP}
            if inner and info["type"] == "directory":
                left.append((path, inner))


def _listed(fs: Any, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What lies in the folder, by path; nothing if it is gone since its parent was listed."""
    try:
        infos = ls(fs, folder)
    except FileNotFoundError:
        return
    for info in infos:
        path = str(info["name"]).rstrip("/")
        if path != folder.rstrip("/"):  # Object stores list a folder's own marker in it.
            yield path, followed(fs, path, info)


def _lists_flat(fs: Any) -> bool:
    """Whether all that is below a prefix comes in one listing, as object stores give it.

    That one fails as a whole; walking folder by folder is left to no client.
    """
    if isinstance(fs, AsyncFileSystem):
        return type(fs)._find is not AsyncFileSystem._find
    return type(fs).find is not fsspec.AbstractFileSystem.find


def _retried(fs: Any, listing: Callable[[], T]) -> T:
    """Clients remember listings, so a repeated one starts afresh."""

    def fresh() -> T:
        fs.invalidate_cache()
        return listing()

    return retry_of(fs)(fresh)
