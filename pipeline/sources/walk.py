"""Listing folders and patterns without leaving anything out.

fsspec's own `find` and `glob` take a folder that fails to list for an empty one: its shards would
be missing from a run that says it is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.utils import glob_translate

from pipeline.sources.storage import retry_of

__all__ = ["exists", "expand", "ls", "walk"]

T = TypeVar("T")
Infos = dict[str, dict[str, Any]]


def exists(fs: Any, path: str) -> bool:
    """fsspec's `exists`, but a failure to tell is no "no"."""
    try:
        _retried(fs, lambda: fs.info(path))
    except FileNotFoundError:
        return False
    return True


def ls(fs: Any, path: str) -> list[dict[str, Any]]:
    """What lies in the folder.

    Raises:
        FileNotFoundError: if it is not there.
    """
    return list(_retried(fs, lambda: fs.ls(path, detail=True)))


def walk(fs: Any, path: str) -> Infos:
    """All files below the folder, by path."""
    found: Infos = _retried(fs, lambda: fs.find(path, detail=True, **_errors_raise(fs)))
    return found


def expand(fs: Any, url: str) -> Infos:
    """Files and folders that match the pattern, by path."""
    parts = str(fs._strip_protocol(url)).split("/")
    first = next(i for i, part in enumerate(parts) if re.search(r"[*?\[]", part))
    # HTTP has no folders to go through one by one; whole object stores are not searched.
    if "**" in url or "://" in fs._strip_protocol(url) or first == 0:
        found: Infos = _retried(fs, lambda: fs.glob(url, detail=True, **_errors_raise(fs)))
        return found
    level: Infos = {"/".join(parts[:first]) or fs.root_marker: {"type": "directory"}}
    for part in parts[first:]:
        matches = re.compile(glob_translate(part)).fullmatch
        folders = [folder for folder, info in level.items() if info["type"] == "directory"]
        level = {
            path: info
            for folder in folders
            for path, info in _listed(fs, folder)
            if matches(path.rpartition("/")[2])
        }
    return level


def _listed(fs: Any, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What lies in the folder, by path; nothing if it is gone since its parent was listed."""
    try:
        infos = ls(fs, folder)
    except FileNotFoundError:
        return
    for info in infos:
        path = str(info["name"]).rstrip("/")
        if path != folder.rstrip("/"):  # Object stores list a folder's own marker in it.
            yield path, info


def _errors_raise(fs: Any) -> dict[str, Any]:
    """For `find` where it walks folder by folder; flat listings of object stores raise anyway."""
    if isinstance(fs, AsyncFileSystem):
        walks = type(fs)._find is AsyncFileSystem._find
    else:
        walks = type(fs).find is fsspec.AbstractFileSystem.find
    return {"on_error": _unless_gone} if walks else {}


def _unless_gone(exc: OSError) -> None:
    if not isinstance(exc, FileNotFoundError):
        raise exc


def _retried(fs: Any, listing: Callable[[], T]) -> T:
    """Clients remember listings, so a repeated one starts afresh."""

    def fresh() -> T:
        fs.invalidate_cache()
        return listing()

    return retry_of(fs)(fresh)
