"""Rows between stages: from Arrow and back, and how a row fails.

A row is *active* while it has no error and is no end-of-shard marker; stages touch active rows only
and pass on all others, so that rows in = rows out.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from pipeline.rows.errors import ROW_ERROR_CODES

Row = dict[str, Any]

CARRIED: Final = "carried"
PARSED: Final = "parsed"
"""Struct columns of what a job adds to the standard ones; see `pipeline.rows.extras`."""

MAX_DETAIL = 200


def is_active(row: Row) -> bool:
    """Whether a stage has work to do on this row."""
    return row["error_code"] is None and row["shard_rows"] is None


def fail(row: Row, stage: str, code: str, detail: object) -> None:
    """Turn `row` into one that will end in quarantine, under a code of `ROW_ERROR_CODES`."""
    assert code in ROW_ERROR_CODES, f"unknown row error code {code}"
    # A lone surrogate, as in an undecodable file name, is no UTF-8 and would stop the job.
    plain = str(detail).encode("utf-8", "replace").decode()
    text = " ".join(plain.split())[:MAX_DETAIL]
    row.update(error_stage=stage, error_code=code, error_detail=text)


def to_rows(table: pa.Table) -> list[Row]:
    """The rows as dictionaries; what is carried or parsed, as Arrow arrays of one value.

    Not every Arrow value is one of Python's: nanoseconds and years past 9999 are not.
    """
    added = [name for name in (CARRIED, PARSED) if name in table.column_names]
    rows: list[Row] = table.drop_columns(added).to_pylist()
    for name in added:
        column = table[name].combine_chunks()
        for index, row in enumerate(rows):
            row[name] = column.slice(index, 1)
    return rows


def to_table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """Columns of `schema` only; what a row lacks is null."""
    columns = [_column([row.get(f.name) for row in rows], f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Of Python's values or, for a struct, of arrays of one value each."""
    if pa.types.is_struct(kind) and any(isinstance(value, pa.Array) for value in values):
        none = pa.nulls(1, kind)
        return pa.concat_arrays([none if value is None else value for value in values])
    return pa.array(values, type=kind)
