"""Rows: which are active, how they fail, and back to Arrow."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.rows.errors import ROW_ERROR_CODES
from pipeline.rows.row import Row, fail, is_active, to_table
from pipeline.rows.schemas import QUARANTINE_SCHEMA

SCHEMA = pa.schema([("image_id", pa.string()), ("shard_rows", pa.int64())])


def fresh() -> Row:
    return {"image_id": "a#0", "error_code": None, "error_detail": None, "shard_rows": None}


def test_markers_and_failed_rows_are_not_active() -> None:
    assert is_active(fresh())
    assert not is_active(fresh() | {"shard_rows": 0})
    assert not is_active(fresh() | {"error_code": "image_empty"})


def test_a_failed_row_says_where_why_and_how_on_one_short_line() -> None:
    row = fresh()
    fail(row, "partition", "image_corrupt", ValueError("bad\n  header " + "x" * 500))
    assert (row["error_stage"], row["error_code"]) == ("partition", "image_corrupt")
    assert row["error_detail"].startswith("bad header xxx")
    assert len(row["error_detail"]) == 200
    assert not is_active(row)


def test_a_detail_that_is_no_utf8_can_be_stored() -> None:
    """Such as the name of a file in an encoding of old."""
    row = fresh()
    fail(row, "read", "shard_corrupt", b"caf\xe9.jpg".decode("utf-8", "surrogateescape"))
    assert to_table([row], QUARANTINE_SCHEMA)["error_detail"].to_pylist() == ["caf?.jpg"]


def test_codes_are_of_the_list() -> None:
    assert "generation_failed" in ROW_ERROR_CODES
    with pytest.raises(AssertionError, match="no_such_code"):
        fail(fresh(), "read", "no_such_code", "")


def test_tables_have_the_columns_of_the_schema_and_nothing_else() -> None:
    table = to_table([{"image_id": "a", "more": 1}, {"shard_rows": 3}], SCHEMA)
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == [
        {"image_id": "a", "shard_rows": None},
        {"image_id": None, "shard_rows": 3},
    ]
    assert to_table([], SCHEMA).num_rows == 0
