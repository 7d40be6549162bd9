"""Columns out of texts of a form: which there are, of what types, and the values of a text.

Properties of a schema's object become columns of Arrow types; of what has none, the JSON is kept as
text. Types follow from the schema alone, so that all parts of an output agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from hired_core.language.form import Form
from pipeline.rows.extras import RESERVED_NAMES

__all__ = ["CHOICE", "Parser", "column_kind"]

CHOICE: Final = "choice"
"""Column of a text that is one of several."""

_INT64: Final = 2**63
_DEPTH: Final = 20
"""Of schemas inside schemas; below, JSON is kept as text: a schema may contain itself."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A column's type, and how a value of JSON becomes one of it; null stays null."""

    type: pa.DataType
    convert: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        return None if value is None else self.convert(value)


class Parser:
    """The columns of a form.

    A property that is called as a standard column is, becomes `json_` and its name.

    Attributes:
        schema: names and types, in the order of the form; empty for JSON that is no object with
            `properties`.
    """

    def __init__(self, form: Form) -> None:
        self._is_choice = form.schema is None
        properties = {} if form.schema is None else _of_object(form.schema)
        columns = zip(_free_names([*properties]), properties.items(), strict=True)
        self._columns = {name: (key, kind) for name, (key, kind) in columns}
        fields = [pa.field(name, kind.type) for name, (_, kind) in self._columns.items()]
        self.schema = pa.schema([pa.field(CHOICE, pa.string())] if self._is_choice else fields)

    def __call__(self, text: str) -> dict[str, Any]:
        """The values of a text of the form; null for properties that it does not have.

        Raises:
            OverflowError: if a whole number does not fit 64 bits.
        """
        if self._is_choice:
            return {CHOICE: text}
        value = json.loads(text)
        found = value if isinstance(value, dict) else {}
        return {name: kind(found.get(key)) for name, (key, kind) in self._columns.items()}


def _free_names(given: Sequence[str]) -> list[str]:
    """Apart from each other, from standard ones and those of exports, whatever their case: DuckDB
    ignores it."""
    taken, found = set(RESERVED_NAMES), list[str]()
    for name in given:
        while name.casefold() in taken or not name:
            name = f"json_{name}"
        taken.add(name.casefold())
        found.append(name)
    return found


def _of_object(schema: Mapping[str, Any]) -> dict[str, Kind]:
    """The properties of the schema's object, each with its kind; none if it is no such object."""
    node = _resolved(schema, schema)
    properties = node.get("properties") if isinstance(node, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    return {name: column_kind(each, schema) for name, each in properties.items()}


def column_kind(node: Any, root: Mapping[str, Any], depth: int = 0) -> Kind:
    """Of the values that a schema allows, null apart; `_JSON` where they are of several types.

    Args:
        node: a schema within `root`.
    """
    node = _resolved(node, root)
    if not isinstance(node, Mapping) or depth > _DEPTH:
        return _JSON
    if "enum" in node or "const" in node:
        return _of_values(node.get("enum", [node.get("const")]))
    for key in ("anyOf", "oneOf", "allOf"):
        if key in node:
            several = node[key] if "type" not in node and "properties" not in node else []
            kinds = [column_kind(each, root, depth + 1) for each in several if not _is_null(each)]
            return _common(kinds)
    return _of_type(node, root, depth)


def _of_type(node: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Kind:
    given = node.get("type")
    types = [kind for kind in (given if isinstance(given, list) else [given]) if kind != "null"]
    if sorted(map(str, types)) == ["integer", "number"]:
        return _PLAIN["number"]
    if len(types) != 1 or not isinstance(types[0], str):
        return _JSON
    if types[0] == "array":
        return _list(node, root, depth)
    if types[0] == "object":
        return _struct(node, root, depth)
    bounds = [node[key] for key in _BOUNDS if isinstance(node.get(key), int | float)]
    if types[0] == "integer" and any(abs(bound) >= _INT64 for bound in bounds):
        return _JSON
    return _PLAIN.get(types[0], _JSON)


def _list(node: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Kind:
    if "prefixItems" in node or not isinstance(node.get("items"), Mapping):
        return _JSON
    item = column_kind(node["items"], root, depth + 1)
    return Kind(type=pa.list_(item.type), convert=lambda values: [item(each) for each in values])


def _struct(node: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Kind:
    """Objects that may have other properties than those named are kept whole, as JSON."""
    properties = node.get("properties")
    is_open = node.get("additionalProperties", False) is not False or "patternProperties" in node
    if not isinstance(properties, Mapping) or not properties or is_open:
        return _JSON
    kinds = {name: column_kind(each, root, depth + 1) for name, each in properties.items()}
    return Kind(
        type=pa.struct([pa.field(name, kind.type) for name, kind in kinds.items()]),
        convert=lambda value: {name: kind(value.get(name)) for name, kind in kinds.items()},
    )


def _of_values(values: Sequence[Any]) -> Kind:
    types = {type(value) for value in values if value is not None}
    if types == {int, float}:
        return _PLAIN["number"]
    names = {str: "string", bool: "boolean", int: "integer", float: "number"}
    return _PLAIN.get(names.get(types.pop(), ""), _JSON) if len(types) == 1 else _JSON


def _common(kinds: Sequence[Kind]) -> Kind:
    """Of alternatives: that of a single one, or a plain type that all have."""
    if len(kinds) == 1 or (kinds and all(kind is kinds[0] for kind in kinds)):
        return kinds[0]
    numbers = [_PLAIN["integer"], _PLAIN["number"]]
    return _PLAIN["number"] if kinds and all(kind in numbers for kind in kinds) else _JSON


def _is_null(node: Any) -> bool:
    return isinstance(node, Mapping) and (
        node.get("type") == "null" or node.get("const", 0) is None
    )


def _resolved(node: Any, root: Mapping[str, Any]) -> Any:
    """`node`, or what it refers to within `root`; None for what is not found there."""
    for _ in range(_DEPTH):
        if not isinstance(node, Mapping) or "$ref" not in node:
            return node
        node = _at(root, node["$ref"])
    return None


def _at(root: Mapping[str, Any], pointer: Any) -> Any:
    found: Any = root
    if not isinstance(pointer, str) or not pointer.startswith("#"):
        return None
    for step in pointer[1:].split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _whole(value: Any) -> int:
    if not -_INT64 <= value < _INT64:
        raise OverflowError(f"{value} does not fit 64 bits")
    return int(value)


_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_JSON: Final = Kind(type=pa.string(), convert=lambda value: json.dumps(value, ensure_ascii=False))
_PLAIN: Final = {
    "string": Kind(type=pa.string(), convert=str),
    "integer": Kind(type=pa.int64(), convert=_whole),
    "number": Kind(type=pa.float64(), convert=float),
    "boolean": Kind(type=pa.bool_(), convert=bool),
}
