"""The bytes of one file, if they are not too many; what may be wrong with a file that data names.

Loose images and shards are opened by `pipeline.storage.files`: a failure there is the job's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.rows.errors import StorageError
from pipeline.storage.files import local_path, open_input, storage_errors
from pipeline.storage.renewal import is_expired

__all__ = ["TooLarge", "Unreadable", "read_bounded"]

_NOT_THERE: Final = (FileNotFoundError, NotADirectoryError)
_OF_THE_NAME: Final = frozenset((errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.ENXIO))


@dataclass(frozen=True, slots=True)
class TooLarge:
    """There are more bytes than were asked for; how many, where it is known."""

    num_bytes: int | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a file or page gives no bytes, as a code of `ROW_ERROR_CODES`, and in words."""

    code: str
    detail: str


def read_bounded(
    url: str, storage_options: Mapping[str, Any], max_bytes: int
) -> bytes | TooLarge | Unreadable:
    """All of the file, unless it has more than `max_bytes`.

    Raises:
        StorageError: if the storage fails for a reason other than the file that was named.
    """
    path = local_path(url)
    if path is not None:
        with storage_errors("read", url):
            return _read_local(path, max_bytes)
    try:
        with open_input(url, storage_options) as file:
            data = file.read(max_bytes + 1)
            return data if len(data) <= max_bytes else TooLarge(file.seek(0, os.SEEK_END))
    except StorageError as exc:
        cause = exc.__cause__
        if isinstance(cause, _NOT_THERE):
            return Unreadable("file_not_found", "there is no such file in the storage")
        if isinstance(cause, PermissionError | IsADirectoryError) and not is_expired(cause):
            return Unreadable("file_unreadable", f"the storage refuses: {type(cause).__name__}")
        raise


def _read_local(path: str, max_bytes: int) -> bytes | TooLarge | Unreadable:
    try:
        # A named pipe would keep a plain `open` waiting for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except _NOT_THERE:
        return Unreadable("file_not_found", f"no file {path}")
    except PermissionError:
        return Unreadable("file_unreadable", f"no permission to read {path}")
    except OSError as exc:
        if exc.errno in _OF_THE_NAME:
            return Unreadable("file_unreadable", f"{os.strerror(exc.errno or 0)}: {path}")
        raise
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return Unreadable("file_unreadable", f"a folder or a device, no file: {path}")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
        return data if len(data) <= max_bytes else TooLarge(max(found.st_size, len(data)))
    finally:
        os.close(descriptor)
