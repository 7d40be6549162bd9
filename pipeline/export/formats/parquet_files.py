"""Parquet: the rows as they are in the output, in fewer and larger files."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow.parquet as pq

from pipeline.export.formats.base import File, Piece
from pipeline.export.formats.row_values import table_of

__all__ = ["ParquetFiles"]


class ParquetFiles:
    """One row a caption, columns and types those of `captions/`."""

    needs_images = False

    def files(self, piece: Piece) -> Iterator[File]:
        buffer = io.BytesIO()
        table = table_of(piece.rows, piece.schema)
        pq.write_table(table, buffer, compression="zstd")
        yield f"captions-{piece.index:05}.parquet", buffer.getvalue()

    def closing(self) -> Iterator[File]:
        yield from ()
