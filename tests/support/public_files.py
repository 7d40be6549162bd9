"""Small Parquet files in the schemas of public benchmarks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TEXTS = pa.list_(pa.string())


def drawn(shade: int, kind: str = "JPEG") -> bytes:
    """A real image file of a few pixels; another shade is another image."""
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), (shade, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def on_hub(data: bytes | None, path: str | None = None) -> dict[str, Any] | None:
    """An image cell as the hub stores it."""
    return None if data is None else {"bytes": data, "path": path}


def write(
    path: Path, types: dict[str, pa.DataType], rows: Sequence[tuple[Any, ...]], group: int = 100
) -> Path:
    """A file with these columns; `image` comes first and is of the hub's type."""
    schema = pa.schema({"image": IMAGE, **types})
    records = [dict(zip(schema.names, row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(records, schema), path, row_group_size=group)
    return path
