"""What a form of export is: names and bytes of files, made of images with their captions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from hired_core.images.opening import is_heif
from pipeline.rows.row import Row

__all__ = ["File", "Format", "Item", "Link", "Piece", "image_suffix"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image with all of its captions.

    Attributes:
        name: a path without an ending that is safe and that no other item of the export has.
        rows: of `captions/`, at least one, by question.
        image: its bytes as they are in the input; None where the form has no use for them.
        path: of the image on this machine's disk, if it is a file of its own there.
        wide: all captions as one row, where that was asked for.
    """

    name: str
    rows: tuple[Row, ...]
    image: bytes | None = None
    path: str | None = None
    wide: Row | None = None

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows that stand for it."""
        return self.rows if self.wide is None else (self.wide,)

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What is stored at once.

    Attributes:
        index: counted through the whole export.
        schema: of `rows`.
    """

    index: int
    items: tuple[Item, ...]
    schema: pa.Schema

    @property
    def rows(self) -> list[Row]:
        return [row for item in self.items for row in item.shown]


@dataclass(frozen=True)
class Link:
    """A symbolic link to `path`, in place of bytes."""

    path: str


File = tuple[str, bytes | Link]


class Format(Protocol):
    """A form. `files` of the same piece are always the same."""

    needs_images: bool
    """Whether items carry their bytes."""

    def files(self, piece: Piece) -> Iterator[File]:
        """Names below the destination, and what is in them."""

    def closing(self) -> Iterator[File]:
        """What is stored last, when all pieces are."""


def image_suffix(data: bytes) -> str:
    """The ending that suits an encoded image, told by its first bytes; "bin" for none that is
    known."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return "heic" if is_heif(data) else "avif"
    return next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), "bin")


_MAGIC = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "j2k"),
    (b"MM\0*", "tif"),
    (b"II+\0", "tif"),
    (b"MM\0+", "tif"),
)
