"""Columns of texts of a form: names, types, values."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from hired_core.language.form import Form
from pipeline.rows.extras import ExtraColumns, captions_schema, stored_table
from pipeline.rows.parsing import Parser, column_kind
from pipeline.rows.row import PARSED

TEXT, WHOLE, NUMBER, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
NODE = {
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "integer"}},
}
ROOT = {"$defs": {"node": NODE, "colour": {"enum": ["red", None]}}}
PLACE = {
    "type": "object",
    "properties": {"x": {"type": "number"}, "tags": {"type": "array", "items": {"const": "a"}}},
}

KINDS: list[tuple[Any, pa.DataType]] = [
    ({"type": "string", "maxLength": 3}, TEXT),
    ({"type": ["integer", "null"]}, WHOLE),
    ({"type": "integer", "maximum": 2**64}, TEXT),
    ({"type": ["integer", "number"]}, NUMBER),
    ({"type": "boolean"}, TRUTH),
    ({"enum": [1, 2.5, None]}, NUMBER),
    ({"enum": [1, 2]}, WHOLE),
    ({"enum": [True]}, TRUTH),
    ({"$ref": "#/$defs/colour"}, TEXT),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, WHOLE),
    ({"anyOf": [{"type": "integer"}, {"enum": [0.5]}]}, NUMBER),
    ({"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
     pa.list_(pa.list_(WHOLE))),
    (PLACE, pa.struct({"x": NUMBER, "tags": pa.list_(TEXT)})),
    ({"allOf": [PLACE]}, pa.struct({"x": NUMBER, "tags": pa.list_(TEXT)})),
]  # fmt: skip
AS_JSON: list[Any] = [
    True,
    {},
    {"type": ["string", "integer"]},
    {"enum": ["a", 1]},
    {"anyOf": [{"type": "string"}, {"type": "boolean"}]},
    {"anyOf": [PLACE, {"type": "array", "items": {}}]},
    {"type": "array"},
    {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
    {"type": "object"},
    {**PLACE, "additionalProperties": {"type": "string"}},
    {"anyOf": [{"type": "string"}], "properties": {}},
    {"$ref": "#/$defs/nowhere"},
    {"$ref": "#/$defs/loop"},
]


@pytest.mark.parametrize(("node", "kind"), KINDS)
def test_types(node: Any, kind: pa.DataType) -> None:
    assert column_kind(node, ROOT).type == kind


@pytest.mark.parametrize("node", AS_JSON)
def test_what_has_no_type_is_json(node: Any) -> None:
    found = column_kind(node, ROOT | {"$defs": {"loop": {"$ref": "#/$defs/loop"}}})
    assert found.type == TEXT
    assert [found(value) for value in ("é", [1], None)] == ['"é"', "[1]", None]


def test_a_schema_that_contains_itself_ends_in_json() -> None:
    kind = column_kind({"$ref": "#/$defs/node"}, ROOT)
    depth, value = 0, kind.type
    while pa.types.is_struct(value):
        depth, value = depth + 1, value.field("next").type
    assert depth > 3 and value == TEXT


SCHEMA = {
    "$ref": "#/$defs/it",
    "$defs": {
        "it": {
            "type": "object",
            "properties": {
                "colour": {"enum": ["red", "blue"]},
                "count": {"type": "integer"},
                "share": {"type": "number"},
                "text": {"type": "string"},
                "Width": {"type": "integer"},
                "json_text": {"type": "boolean"},
                "": {"type": "string"},
                "place": PLACE,
                "any": {},
            },
            "required": ["colour"],
        }
    },
}


def test_columns_of_a_text() -> None:
    parser = Parser(Form(SCHEMA))
    value = {"colour": "red", "count": 3, "share": 1, "text": "é", "Width": 7, "json_text": True,
             "": "x", "place": {"x": 2, "tags": ["a"]}, "any": {"a": [1]}}  # fmt: skip
    found = parser(json.dumps(value))
    assert found == {
        "colour": "red",
        "count": 3,
        "share": 1.0,
        "json_text": "é",
        "json_Width": 7,
        "json_json_text": True,
        "json_": "x",
        "place": {"x": 2.0, "tags": ["a"]},
        "any": '{"a": [1]}',
    }
    extras = ExtraColumns(parsed=parser.schema)
    rows = [{"image_id": "a", PARSED: found}, {"image_id": "b", PARSED: parser('{"colour":"red"}')}]
    table = stored_table(rows, captions_schema(extras), extras).select(list(found))
    assert table.schema.equals(parser.schema)
    assert table.to_pylist() == [found, dict.fromkeys(found) | {"colour": "red"}]


def test_columns_that_exports_add_are_not_taken() -> None:
    """An hf-dataset has the image under that name, the .json of a sample the others."""
    properties = {name: {"type": "string"} for name in ("image", "Prompts", "texts")}
    parsed = Parser(Form({"type": "object", "properties": properties})).schema
    assert parsed.names == ["json_image", "json_Prompts", "json_texts"]
    assert captions_schema(ExtraColumns(parsed=parsed)).names[-3:] == parsed.names


def test_a_number_of_more_than_64_bits_is_told() -> None:
    parser = Parser(Form({"type": "object", "properties": {"n": {"type": "integer"}}}))
    assert parser(f'{{"n":{-(2**63)}}}') == {"n": -(2**63)}
    with pytest.raises(OverflowError, match="does not fit 64 bits"):
        parser(f'{{"n":{2**63}}}')


def test_a_choice_is_one_column_and_a_list_none() -> None:
    parser = Parser(Form(None, ["yes", "no"]))
    assert (parser.schema, parser("yes")) == (pa.schema({"choice": TEXT}), {"choice": "yes"})
    parser = Parser(Form({"type": "array", "items": {"type": "integer"}, "maxItems": 2}))
    assert (parser.schema, parser("[1]")) == (pa.schema([]), {})
