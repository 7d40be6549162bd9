"""JSON lines: one object a caption, with all of its columns."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline.export.formats.base import File, Piece

__all__ = ["JsonLines"]


class JsonLines:
    """UTF-8, one object on each line, keys in the order of the columns."""

    needs_images = False

    def files(self, piece: Piece) -> Iterator[File]:
        lines = (json.dumps(row, ensure_ascii=False) for row in piece.rows)
        yield f"captions-{piece.index:05}.jsonl", "".join(f"{line}\n" for line in lines).encode()

    def closing(self) -> Iterator[File]:
        yield from ()
