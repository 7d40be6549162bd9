"""Values of rows: of the job's own columns as Python's, of those it added as Arrow's.

What was carried may have any type: nanoseconds, bytes, dates that Python does not know.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.rows.extras import STANDARD_NAMES
from pipeline.rows.fitting import fit
from pipeline.rows.row import Row

__all__ = ["json_line", "parquet_of", "rows_of", "table_of"]


def rows_of(table: pa.Table) -> list[Row]:
    """What the job did not make itself, as arrays of one value."""
    added = [name for name in table.column_names if name not in STANDARD_NAMES]
    rows: list[Row] = table.drop_columns(added).to_pylist()
    for name in added:
        column = table[name].combine_chunks()
        for index, row in enumerate(rows):
            row[name] = column.slice(index, 1)
    return [{name: row[name] for name in table.column_names} for row in rows]


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """The table that `rows_of` was given."""
    columns = [_column([row[each.name] for row in rows], each.type) for each in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def parquet_of(table: pa.Table, rows_per_group: int | None = None) -> bytes:
    """A Parquet file; without rows one without row groups, since `datasets` fails on empty ones."""
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd") as writer:
        if table.num_rows:
            writer.write_table(table, rows_per_group)
    return buffer.getvalue()


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if any(isinstance(value, pa.Array) for value in values):
        none = pa.nulls(1, kind)
        return pa.concat_arrays([none if value is None else value for value in values])
    return pa.array(values, type=kind)


def json_line(row: Row) -> str:
    """A JSON object on one line. Times are ISO 8601, bytes base64, decimals texts; what is no
    number is null."""
    return json.dumps({name: _plain(value) for name, value in row.items()}, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, pa.Array):
        return _plain(_python(value))
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | datetime.timedelta):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _python(value: pa.Array) -> Any:
    try:
        return value[0].as_py()
    except (ValueError, OverflowError):  # Nanoseconds, or years past 9999.
        return fit(value, pa.string())[0][0].as_py()
