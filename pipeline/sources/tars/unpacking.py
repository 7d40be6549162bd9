"""Streams that are gzipped, or packed with zstd or bzip2, told by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from typing import Any, Final, Protocol

from backports import zstd

__all__ = ["UNPACKING_ERRORS", "Unpacked", "unpacked"]

UNPACKING_ERRORS: Final = (
    zlib.error,
    zstd.ZstdError,
    EOFError,
    OSError,  # gzip.BadGzipFile; failures of the storage below are StorageError, no OSError.
)
"""What broken bytes make an unpacker raise."""

_MAX_WINDOW_LOG: Final = 27
"""128 MiB: what zstd itself takes without being asked; a stream may claim more."""
_PIECE_BYTES: Final = 4096
"""Unpacked at a time: what is lost before a broken byte, as an unpacker that fails gives none."""
_RATIO_FROM_BYTES: Final = 1024**3
_MAX_RATIO: Final = 2000
"""gzip gets to 1,032 at the most, and images that were taken to 1."""


class Unpacked(Protocol):
    """What is needed of a stream: some bytes, at most so many; none at its end."""

    def read1(self, size: int = -1, /) -> bytes: ...


def unpacked(plain: io.BufferedReader[Any]) -> Unpacked:
    """The content of `plain`, of all members or frames if it is packed in several."""
    head = plain.peek(4)[:4]
    if head[:2] == b"\x1f\x8b":
        return _Bounded(gzip.GzipFile(fileobj=plain), plain)
    if head == b"\x28\xb5\x2f\xfd" or (head[1:] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        options = {int(zstd.DecompressionParameter.window_log_max): _MAX_WINDOW_LOG}
        return _Bounded(zstd.ZstdFile(plain, options=options), plain)
    if head[:3] == b"BZh":
        return _Bounded(bz2.BZ2File(plain), plain)
    return plain


class _Bounded:
    """An unpacker that stops at bytes which unpack to thousands of times as many."""

    def __init__(self, file: Any, plain: io.BufferedReader[Any]) -> None:
        self._file = file
        self._plain = plain
        self._num_bytes = 0

    def read1(self, size: int = -1, /) -> bytes:
        data: bytes = self._file.read1(min(size, _PIECE_BYTES) if size > 0 else _PIECE_BYTES)
        self._num_bytes += len(data)
        if self._num_bytes > _RATIO_FROM_BYTES:
            packed = max(1, self._plain.tell())
            if self._num_bytes > _MAX_RATIO * packed:
                raise OSError(f"unpacks to more than {_MAX_RATIO} times its {packed} bytes")
        return data
