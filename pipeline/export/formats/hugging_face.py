"""A Hugging Face dataset: a folder of Parquet with images in it, which `load_dataset` reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from pipeline.export.formats.base import File, Item, Piece, image_suffix
from pipeline.export.formats.row_values import parquet_of, table_of
from pipeline.rows.fitting import fit
from pipeline.rows.row import Row

__all__ = ["HuggingFaceDataset"]

_ROW_GROUP: Final = 100
"""What the library itself takes for images: a reader of one row reads this many."""

_IMAGE: Final = pa.field(
    "image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
)
_FEATURES: Final = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})
"""Columns that are not named get the feature of their Arrow type."""

_CARD: Final = """\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
---
One row a caption: the image, its caption in `text`, what was asked in `prompt`, how it was made.
"""


class HuggingFaceDataset:
    """One row a caption; an image with several is there once for each. `image` is a column of the
    library's type Image, its bytes as they are in the input."""

    needs_images = True

    def files(self, piece: Piece) -> Iterator[File]:
        rows = [_with_image(row, item) for item in piece.items for row in item.shown]
        schema = pa.schema([_IMAGE, *piece.schema], metadata={"huggingface": _FEATURES})
        table = _without_maps(table_of(rows, schema))
        yield f"data/train-{piece.index:05}.parquet", parquet_of(table, _ROW_GROUP)

    def closing(self) -> Iterator[File]:
        yield "README.md", _CARD.encode()


def _with_image(row: Row, item: Item) -> Row:
    assert item.image is not None, "images were asked for"
    base = item.name.rpartition("/")[2]
    return {"image": {"bytes": item.image, "path": f"{base}.{image_suffix(item.image)}"}, **row}


def _without_maps(table: pa.Table) -> pa.Table:
    """Carried maps as JSON texts: the library has no type for them, and would read nothing."""
    for index, each in enumerate(table.schema):
        if _has_map(each.type):
            texts, _ = fit(table[each.name], pa.string())
            table = table.set_column(index, pa.field(each.name, pa.string()), texts)
    return table


def _has_map(kind: pa.DataType) -> bool:
    inner = (kind.field(index).type for index in range(kind.num_fields))
    return bool(pa.types.is_map(kind)) or any(map(_has_map, inner))
