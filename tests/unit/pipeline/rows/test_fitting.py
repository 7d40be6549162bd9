"""Columns of several types under one name."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest

from pipeline.rows.fitting import common_schema, common_type, fit, plain_type


@pytest.mark.parametrize(
    ("kinds", "common"),
    [
        ([pa.int8(), pa.int64()], pa.int64()),
        ([pa.int64(), pa.float32()], pa.float64()),
        ([pa.null(), pa.bool_()], pa.bool_()),
        ([pa.string(), pa.large_string()], pa.large_string()),
        ([pa.string(), pa.int64()], pa.string()),
        ([pa.int64(), pa.list_(pa.int64())], pa.string()),
        ([pa.dictionary(pa.int8(), pa.string()), pa.string()], pa.string()),
        ([pa.timestamp("ns"), pa.timestamp("ms")], pa.timestamp("ns")),
    ],
)
def test_common_type(kinds: list[pa.DataType], common: pa.DataType) -> None:
    assert common_type(kinds) == common
    assert common_type(reversed(kinds)) == common


def test_plain_types_inside_others() -> None:
    words = pa.dictionary(pa.int32(), pa.string_view())
    nested = pa.struct([pa.field("a", pa.list_(words), metadata={"x": "y"})])
    assert plain_type(nested) == pa.struct([pa.field("a", pa.list_(pa.string()))])


def test_common_schema_keeps_the_order_in_which_names_are_met() -> None:
    first, second = pa.schema({"a": pa.int8(), "b": pa.string()}), pa.schema({"c": pa.int8()})
    assert common_schema([first, second, pa.schema({"a": pa.string()})]) == pa.schema(
        {"a": pa.string(), "b": pa.string(), "c": pa.int8()}
    )


@pytest.mark.parametrize(
    ("column", "kind", "values", "lost"),
    [
        (pa.array([1, None]), pa.float64(), [1.0, None], 0),
        (pa.array([1.0, 1.5, None]), pa.int64(), [1, None, None], 1),
        (pa.array(["7", "x"]), pa.int32(), [7, None], 1),
        (pa.array([[1], None]), pa.string(), ["[1]", None], 0),
        (pa.array([b"ok", b"\xff"]), pa.string(), ["ok", None], 1),
        (pa.array(["a", "a"]).dictionary_encode(), pa.string(), ["a", "a"], 0),
    ],
)
def test_fit(column: Any, kind: pa.DataType, values: list[Any], lost: int) -> None:
    found, num_lost = fit(column, kind)
    assert (found.type, found.to_pylist(), num_lost) == (kind, values, lost)


def test_texts_that_are_no_unicode_do_not_fit() -> None:
    broken = pa.array([b"ok", b"\xff"]).cast(pa.binary()).view(pa.string())
    found, lost = fit(broken, pa.string())
    assert (found.to_pylist(), lost) == (["ok", None], 1)


def test_nested_values_that_are_no_json_become_text() -> None:
    day = pa.array([[datetime.date(2026, 11, 20)]])
    assert fit(day, pa.string())[0].to_pylist() == ['["2026-11-20"]']
