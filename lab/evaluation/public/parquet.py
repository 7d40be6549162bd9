"""Rows of local Parquet files, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.rows.errors import InputError

__all__ = ["columns_of", "rows_of"]

_BATCH_ROWS = 16
_BUFFER_BYTES = 1 << 20


def columns_of(path: Path) -> tuple[str, ...]:
    """The names of a file's columns.

    Raises:
        InputError: there is no such file, or it is no Parquet.
    """
    try:
        names: Sequence[str] = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as exc:
        raise InputError(f"{path} cannot be read as Parquet: {exc}") from exc
    return tuple(names)


def rows_of(path: Path, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The named columns of every row, in the order of the file.

    Memory follows the file's row groups, of which pyarrow decodes nested columns whole (the hub
    writes images in groups of about a hundred rows), never the file.

    Raises:
        InputError: the file breaks off or is damaged.
    """
    try:
        # With `pre_buffer`, the default, the encoded columns would be held beside the decoded ones.
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as exc:
        raise InputError(f"{path} cannot be read as Parquet: {exc}") from exc
