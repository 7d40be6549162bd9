"""Columns that a job adds to the standard ones."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.rows.errors import ConfigError
from pipeline.rows.extras import ExtraColumns, captions_schema, quarantine_schema, stored_table
from pipeline.rows.row import CARRIED, PARSED, to_rows, to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA, CAPTIONS_SCHEMA, QUARANTINE_SCHEMA, ROW_SCHEMA

FAR = 600_000_000_000_000_000
"""Microseconds: in a year that Python does not know."""
EXTRAS = ExtraColumns(
    carried=pa.schema({"at": pa.timestamp("us"), "tags": pa.list_(pa.string())}),
    parsed=pa.schema({"colour": pa.string()}),
)


def carried(at: int | None, tags: list[str]) -> pa.Array:
    kind = pa.struct(list(EXTRAS.carried))
    return pa.StructArray.from_arrays(
        [pa.array([at], pa.timestamp("us")), pa.array([tags], pa.list_(pa.string()))],
        fields=list(kind),
    )


def test_a_job_that_adds_nothing_has_the_standard_schemas() -> None:
    none = ExtraColumns()
    assert none.on_the_way(ROW_SCHEMA) == ROW_SCHEMA
    assert none.on_the_way(ANSWERED_SCHEMA, CARRIED, PARSED) == ANSWERED_SCHEMA
    assert (captions_schema(none), quarantine_schema(none)) == (CAPTIONS_SCHEMA, QUARANTINE_SCHEMA)


def test_values_survive_from_stage_to_stage() -> None:
    schema = EXTRAS.on_the_way(ROW_SCHEMA)
    rows = [{"image_id": "a", CARRIED: carried(FAR, ["x"])}, {"image_id": "b"}]
    table = to_table(rows, schema)
    again = to_table(to_rows(pa.concat_tables([table, table])), schema)
    values = again[CARRIED].combine_chunks()
    assert values.field("at").cast(pa.int64()).to_pylist()[::2] == [FAR] * 2
    assert values.is_null().to_pylist() == [False, True] * 2


def test_stored_columns_are_flat_and_follow_the_standard_ones() -> None:
    rows = [
        {"image_id": "a", CARRIED: carried(FAR, ["x"]), PARSED: {"colour": "red"}},
        {"image_id": "b", CARRIED: carried(None, [])},
        {"image_id": "c"},
    ]
    table = stored_table(rows, captions_schema(EXTRAS), EXTRAS)
    assert table.column_names == [*CAPTIONS_SCHEMA.names, "at", "tags", "colour"]
    assert table["at"].cast(pa.int64()).to_pylist() == [FAR, None, None]
    assert table["tags"].to_pylist() == [["x"], [], None]
    assert table["colour"].to_pylist() == ["red", None, None]
    assert table["image_id"].to_pylist() == ["a", "b", "c"]
    bad = stored_table(rows[:1], quarantine_schema(EXTRAS), EXTRAS)
    assert bad.column_names == [*QUARANTINE_SCHEMA.names, "at", "tags"]


@pytest.mark.parametrize("name", ["text", "Text", "error_code"])
def test_names_of_the_results_are_refused_with_a_way_out(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--carry '{name} as my_{name}'"):
        ExtraColumns(carried=pa.schema({name: pa.string()}))
    with pytest.raises(ConfigError, match=f"schema: '{name}'"):
        ExtraColumns(parsed=pa.schema({name: pa.string()}))


def test_a_name_is_of_one_kind() -> None:
    both = pa.schema({"colour": pa.string()})
    with pytest.raises(ConfigError, match="parsed from the texts too"):
        ExtraColumns(carried=both, parsed=both)
    with pytest.raises(ConfigError, match="'Colour' is parsed from the texts too"):
        ExtraColumns(carried=pa.schema({"Colour": pa.string()}), parsed=both)
