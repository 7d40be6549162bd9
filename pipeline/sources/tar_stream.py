"""The members of a tar that is read once from front to back, hardened against broken archives."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Self

from pipeline.storage.files import StorageFile

__all__ = ["DATA_ERRORS", "open_tar"]

DATA_ERRORS: Final = (
    tarfile.TarError,
    zlib.error,
    EOFError,
    OSError,  # gzip.BadGzipFile; failures of the storage below are StorageError, no OSError.
    ValueError,
    OverflowError,
    RecursionError,  # A chain of thousands of long-name headers.
)
"""What broken bytes make `tarfile` and `gzip` raise."""

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_EXTENDED_HEADER_BYTES = 1024 * 1024
_EXTENDED_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


@contextmanager
def open_tar(file: StorageFile) -> Generator[tarfile.TarFile, None, None]:
    """The tar, gzipped or not (told by content), whose `next()` raises where the archive breaks.

    Raises:
        one of `DATA_ERRORS`: if the first header is no tar header.
    """
    with io.BufferedReader(file) as plain:
        if plain.peek(len(_GZIP_MAGIC))[: len(_GZIP_MAGIC)] != _GZIP_MAGIC:
            with tarfile.open(fileobj=_Endless(plain), mode="r|", tarinfo=_Member) as tar:
                yield tar
            return
        # Not mode "r|gz": that one ends after the first of several gzip members.
        with (
            gzip.GzipFile(fileobj=plain) as unzipped,
            tarfile.open(fileobj=_Endless(unzipped), mode="r|", tarinfo=_Member) as tar,
        ):
            yield tar


class _Endless(io.RawIOBase):
    """A stream whose end is an error: a tar says itself where it ends.

    Stock `tarfile` would go on to "skip" the terabyte that a header may claim, block by block.
    """

    def __init__(self, file: io.BufferedReader[Any] | gzip.GzipFile) -> None:
        super().__init__()
        self._file = file

    def read(self, size: int = -1) -> bytes:
        # Not `read`: of a gzip cut short, it would drop what still unpacks.
        if data := self._file.read1(size):
            return data
        raise EOFError("unexpected end of data")


class _Member(tarfile.TarInfo):
    """Headers, minus two habits of `tarfile` that would lose rows or memory without a word."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """A broken or missing header raises; stock `tarfile` takes it for the archive's end."""
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # Not in typeshed.
            raise
        except tarfile.HeaderError as exc:
            raise tarfile.ReadError(f"{exc} at byte {tarfile_.offset}") from exc

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Extended headers, which `tarfile` reads whole, are bounded; no size is negative."""
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise tarfile.ReadError(f"a header with size {member.size}")
        if member.type in _EXTENDED_TYPES and member.size > _MAX_EXTENDED_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {member.size} bytes")
        return member
