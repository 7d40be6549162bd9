"""JSON lines: one object a caption, with all of its columns."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.export.formats.base import File, Piece
from pipeline.export.formats.row_values import json_line

__all__ = ["JsonLines"]


class JsonLines:
    """UTF-8, one object on each line, keys in the order of the columns."""

    needs_images = False

    def files(self, piece: Piece) -> Iterator[File]:
        lines = map(json_line, piece.rows)
        yield f"captions-{piece.index:05}.jsonl", "".join(f"{line}\n" for line in lines).encode()

    def closing(self) -> Iterator[File]:
        yield from ()
