"""Rows between stages: from Arrow and back, and how a row fails.

A row is *active* while it has no error, gets no other row's caption and is no end-of-shard marker;
stages touch active rows only and pass on all others, so that rows in = rows out.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.rows.errors import ROW_ERROR_CODES

Row = dict[str, Any]

MAX_DETAIL = 200


def is_active(row: Row) -> bool:
    """Whether a stage has work to do on this row."""
    return row["error_code"] is None and row["shard_rows"] is None and not is_copy(row)


def is_copy(row: Row) -> bool:
    """Whether all that is asked of the row was asked before of the same image."""
    firsts: list[int | None] = row.get("firsts") or [None]
    return row.get("first") is not None or None not in firsts


def fail(row: Row, stage: str, code: str, detail: object) -> None:
    """Turn `row` into one that will end in quarantine, under a code of `ROW_ERROR_CODES`."""
    assert code in ROW_ERROR_CODES, f"unknown row error code {code}"
    # A lone surrogate, as in an undecodable file name, is no UTF-8 and would stop the job.
    plain = str(detail).encode("utf-8", "replace").decode()
    text = " ".join(plain.split())[:MAX_DETAIL]
    row.update(error_stage=stage, error_code=code, error_detail=text)


def to_table(rows: list[Row], schema: pa.Schema) -> pa.Table:
    """Columns of `schema` only; what a row lacks is null."""
    columns = [pa.array([row.get(f.name) for row in rows], type=f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)
