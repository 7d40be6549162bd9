"""Parquet: the rows as they are in the output, in fewer and larger files."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.export.formats.base import File, Piece
from pipeline.export.formats.row_values import parquet_of, table_of

__all__ = ["ParquetFiles"]


class ParquetFiles:
    """One row a caption, columns and types those of `captions/`."""

    needs_images = False

    def files(self, piece: Piece) -> Iterator[File]:
        table = table_of(piece.rows, piece.schema)
        yield f"captions-{piece.index:05}.parquet", parquet_of(table)

    def closing(self) -> Iterator[File]:
        yield from ()
