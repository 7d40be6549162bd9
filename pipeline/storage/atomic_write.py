"""Writing and deleting files so that a reader sees each one whole or not at all.

* Local disk: written under a hidden name in the same folder, synced, renamed, the folder synced.
* Remote file systems that rename (SFTP, HDFS, SMB, FTP): written under a hidden name, renamed.
  Where a rename does not replace a file, the old one goes first: for a moment there is neither.
* Everything else, object stores above all: one PUT, which is atomic there; a large one is a
  multipart upload, visible once it is complete.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import Any, Final

from pipeline.storage.files import is_local, protocols, retry_of
from pipeline.storage.retry import Retry

__all__ = ["TEMPORARY_SUFFIX", "link", "put", "remove"]

TEMPORARY_SUFFIX: Final = ".tmp"
"""Ends the names of files that are being written."""

_RENAMING: Final = frozenset(
    ("sftp", "ssh", "hdfs", "arrow_hdfs", "webhdfs", "webHDFS", "smb", "ftp")
)


def put(fs: Any, path: str, data: bytes, retry: Retry | None = None) -> None:
    """Store `data` at `path`, folders made as needed, replacing what is there.

    Raises:
        Whatever the file system raises, passing failures after `retry`.
    """
    retry = retry or retry_of(fs)
    if is_local(fs):
        _put_local(path, data)
    elif _RENAMING & set(protocols(fs)):
        retry(lambda: _put_renamed(fs, path, data))
    else:
        retry(lambda: fs.pipe_file(path, data))


def link(path: str, target: str) -> None:
    """Make a symbolic link to `target` at `path` of the local disk, replacing what is there.

    Where both are one file nothing is done: it would become a link to itself, and be lost.

    Raises:
        FileNotFoundError: if there is no `target`.
    """
    if os.path.realpath(path) == os.path.realpath(target, strict=True):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = _temporary(path)
    try:
        os.symlink(target, temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise


def remove(fs: Any, path: str, retry: Retry | None = None) -> None:
    """Delete the file; one that is not there counts as deleted.

    A deletion whose answer got lost is repeated, and then finds nothing.
    """
    with contextlib.suppress(FileNotFoundError):
        (retry or retry_of(fs))(lambda: fs.rm_file(path))


def _temporary(path: str) -> str:
    folder, _, base = path.rpartition("/")
    return f"{folder}/.{base}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"


def _put_local(path: str, data: bytes) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # Full and failing disks say so here at the latest.
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Makes the rename outlast a power failure, where folders can be synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # Some network file systems refuse.
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_renamed(fs: Any, path: str, data: bytes) -> None:
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    temporary = _temporary(path)
    try:
        fs.pipe_file(temporary, data)
        _rename(fs, temporary, path)
    except BaseException:
        with contextlib.suppress(Exception):  # The first failure is the one to tell.
            fs.rm_file(temporary)
        raise


def _rename(fs: Any, old: str, new: str) -> None:
    """SFTP's rename replaces; others fail, or do nothing without a word."""
    if not {"sftp", "ssh"} & set(protocols(fs)):
        with contextlib.suppress(FileNotFoundError):
            fs.info(new)
            fs.rm_file(new)
    fs.mv(old, new)
