"""A .txt for each image, named like it: what trainers of image models read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pipeline.export.formats.base import File, Item, Link, Piece, image_suffix
from pipeline.rows.errors import InputError

__all__ = ["SideBySide", "TextFiles"]

SideBySide = Literal["no", "copy", "link"]


class TextFiles:
    """One caption is the file's text; of several, each is one line, in the order of the questions.

    Args:
        beside: what lies beside each .txt: nothing, a copy of its image, or a link to it.
    """

    def __init__(self, beside: SideBySide) -> None:
        self._beside = beside
        self.needs_images = beside == "copy"

    def files(self, piece: Piece) -> Iterator[File]:
        for item in piece.items:
            yield f"{item.name}.txt", text_of(item)
            if self._beside == "copy":
                assert item.image is not None, "images were asked for"
                yield f"{item.name}.{image_suffix(item.image)}", item.image
            elif self._beside == "link":
                yield _link(item)

    def closing(self) -> Iterator[File]:
        yield from ()


def text_of(item: Item) -> bytes:
    """Ends with a line break; those inside a caption become spaces where there are several."""
    texts = item.texts
    if len(texts) > 1:
        texts = [" ".join(text.split()) for text in texts]
    return "".join(f"{text}\n" for text in texts).encode()


def _link(item: Item) -> File:
    if item.path is None:
        raise InputError(
            f"side_by_side: {item.rows[0]['image_id']} is no file of its own on this machine's "
            "disk, so that there is nothing to link to; choose copy"
        )
    suffix = item.path.rpartition(".")[2].lower()
    return f"{item.name}.{suffix}", Link(item.path)
