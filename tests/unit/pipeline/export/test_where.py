"""Conditions: SQL over the columns of a row, and nothing else."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.export.where import Where
from pipeline.rows.errors import ConfigError
from pipeline.rows.schemas import CAPTIONS_SCHEMA

ROWS = pa.Table.from_pylist(
    [
        {
            "image_id": "a#0",
            "finish_reason": "stop",
            "output_tokens": 9,
            "text": "it's",
            "flags": [],
        },
        {
            "image_id": "a#1",
            "finish_reason": "stop",
            "output_tokens": 5,
            "text": "A cat",
            "flags": ["echo"],
        },
        {"image_id": "a#2", "finish_reason": "length", "output_tokens": 9, "text": None},
        {"image_id": "a#3", "finish_reason": None, "output_tokens": None, "text": "x"},
    ],
    schema=CAPTIONS_SCHEMA,
)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("finish_reason = 'stop' and output_tokens > 5", [0]),
        ("output_tokens > 5 or text is null", [0, 2]),
        ("not (finish_reason = 'stop')", [2]),
        ("lower(text) like '%cat%'", [1]),
        ("text = 'it''s'", [0]),
        ("partition_budgets is null", [0, 1, 2, 3]),
        ("flags = []", [0]),
        ("list_contains(flags, 'echo')", [1]),
        ("false", []),
    ],
)
def test_rows_are_chosen_in_their_order(condition: str, kept: list[int]) -> None:
    found = Where(condition, CAPTIONS_SCHEMA)(ROWS)
    assert found.schema.equals(ROWS.schema)
    assert found["image_id"].to_pylist() == [f"a#{row}" for row in kept]


@pytest.mark.parametrize(
    "condition",
    [
        "colour = 'red'",
        "output_tokens",
        "sum(output_tokens) > 1",
        "unnest(partition_budgets) > 1",
        "output_tokens >",
        "",
        "true) AS keep from t; drop table t; select (true",
        "text in (select content from read_text('/etc/hostname'))",
        "text = 'open",
    ],
)
def test_what_is_no_condition_of_a_row_is_told_at_once(condition: str) -> None:
    with pytest.raises(ConfigError, match=r"^where: "):
        Where(condition, CAPTIONS_SCHEMA)


def test_columns_that_duckdb_has_not_stay_and_are_not_asked_for() -> None:
    """As may be carried."""
    kind = pa.list_(pa.float16())
    table = ROWS.append_column("halves", pa.array([[1], None, [2, 3], []], kind))
    table = table.append_column("large", pa.array([1, 2, None, 4], pa.decimal256(50, 2)))
    found = Where("output_tokens > 5", table.schema)(table)
    assert found.schema.equals(table.schema) and found["halves"].to_pylist() == [[1.0], [2.0, 3.0]]
    with pytest.raises(ConfigError, match='"large" not found'):
        Where("large > 1", table.schema)


def test_a_condition_that_fails_on_a_value_is_told() -> None:
    with pytest.raises(ConfigError, match="Could not convert"):
        Where("text::int > 3", CAPTIONS_SCHEMA)(ROWS)
