"""The members of a tar that is read once from front to back, hardened against broken archives."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Self

from pipeline.sources.tars.unpacking import UNPACKING_ERRORS, Unpacked, unpacked
from pipeline.storage.files import StorageFile

__all__ = ["DATA_ERRORS", "open_tar"]

DATA_ERRORS: Final = (
    *UNPACKING_ERRORS,
    tarfile.TarError,
    ValueError,
    OverflowError,
    RecursionError,  # A chain of thousands of long-name headers.
)
"""What broken bytes make `tarfile` and the unpackers raise."""

_MAX_EXTENDED_HEADER_BYTES = 1024 * 1024
_EXTENDED_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_MAX_ZEROS: Final = 64 * 1024**2
"""After the end of an archive; where another may follow, it does so within some KiB."""


@contextmanager
def open_tar(file: StorageFile) -> Generator[tarfile.TarFile, None, None]:
    """The tar, packed or not, whose `next()` raises where the archive breaks.

    Archives that were appended to it (`cat a.tar b.tar`) are read on into, as members of one.

    Raises:
        one of `DATA_ERRORS`: if the first header is no tar header.
    """
    with (
        io.BufferedReader(file) as plain,
        tarfile.open(
            fileobj=_Endless(unpacked(plain)), mode="r|", tarinfo=_Member, ignore_zeros=True
        ) as tar,
    ):
        yield tar


class _Endless(io.RawIOBase):
    """A stream that may end after an archive's end mark, and nowhere else.

    Stock `tarfile` would go on to "skip" the terabyte that a header may claim, block by block.
    """

    def __init__(self, file: Unpacked) -> None:
        super().__init__()
        self._file = file
        self._zeros = 0

    def read(self, size: int = -1) -> bytes:
        # Not `read`: of an archive cut short, it would drop what still unpacks.
        if data := self._file.read1(size):
            return data
        if self._zeros:
            return b""
        raise EOFError("unexpected end of data")

    def note_header(self) -> None:
        """A member begins: now the stream may not end."""
        self._zeros = 0

    def note_zeros(self) -> None:
        """A block of zeros, as two end an archive."""
        self._zeros += tarfile.BLOCKSIZE
        if self._zeros > _MAX_ZEROS:
            raise tarfile.ReadError(f"more than {_MAX_ZEROS} bytes of zeros after the end mark")


class _Member(tarfile.TarInfo):
    """Headers, minus two habits of `tarfile` that would lose rows or memory without a word."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:
        """A broken or missing header raises; stock `tarfile` takes it for the archive's end."""
        # Of `tarfile`'s own buffer, the stream that this module gave it; typeshed knows neither.
        stream: _Endless = tarfile_.fileobj.fileobj  # type: ignore[attr-defined]
        try:
            member = super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # Not in typeshed.
            stream.note_zeros()
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]  # Nor this; an end is fine.
            raise
        except tarfile.HeaderError as exc:
            raise tarfile.ReadError(f"{exc} at byte {tarfile_.offset}") from exc
        stream.note_header()
        return member

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Extended headers, which `tarfile` reads whole, are bounded; no size is negative."""
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise tarfile.ReadError(f"a header with size {member.size}")
        if member.type in _EXTENDED_TYPES and member.size > _MAX_EXTENDED_HEADER_BYTES:
            raise tarfile.ReadError(f"an extended header of {member.size} bytes")
        return member
