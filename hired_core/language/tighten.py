"""A schema made stricter where that keeps texts short: what fits it fits the original too.

JSON Schema lets objects have properties that it does not name, and numbers any number of digits. A
model that is held to that alone may write names and digits until it runs out of tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["tighten"]

LARGEST: Final = 2**53
"""Of numbers: JSON readers that use doubles have all integers up to there, and int64 too."""
STEP: Final = 1e-6
"""Of numbers that are no integers."""

_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions")
_LISTED: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE: Final = ("items", "additionalProperties")
_JOINING: Final = ("$ref", "anyOf", "oneOf", "allOf")
_OPENING: Final = (
    *_JOINING,
    *("additionalProperties", "patternProperties", "unevaluatedProperties"),
    *("not", "if", "dependentSchemas", "minProperties", "propertyNames"),
)
_UPPER: Final = ("maximum", "exclusiveMaximum")
_LOWER: Final = ("minimum", "exclusiveMinimum")


def tighten(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Objects with `properties` have no others, unless the schema speaks of them; numbers without a
    bound stay within 2**53, and have at most six decimals and no exponent.

    Objects are left as they are in a schema that says of one value several things at once (by
    `allOf`, or a `$ref` or `anyOf` beside `properties`): each part would shut out the names of the
    others.
    """
    closing = not any(map(_joins, _nodes(schema)))
    found: dict[str, Any] = _tightened(schema, closing)
    return found


def _tightened(node: Any, closing: bool) -> Any:
    if not isinstance(node, Mapping):
        return node
    found = {key: _inside(key, value, closing) for key, value in node.items()}
    if closing and "properties" in node and not any(key in node for key in _OPENING):
        found["additionalProperties"] = False
    if any(kind in ("integer", "number") for kind in _types(node)):
        found |= _bounds(node)
    return found


def _inside(key: str, value: Any, closing: bool) -> Any:
    if key in _NAMED and isinstance(value, Mapping):
        return {name: _tightened(each, closing) for name, each in value.items()}
    if key in _LISTED and isinstance(value, list):
        return [_tightened(each, closing) for each in value]
    return _tightened(value, closing) if key in _SINGLE else value


def _bounds(node: Mapping[str, Any]) -> dict[str, Any]:
    if any(key in node for key in ("enum", "const", "multipleOf")):
        return {}
    low = {} if any(key in node for key in _LOWER) else {"minimum": -LARGEST}
    high = {} if any(key in node for key in _UPPER) else {"maximum": LARGEST}
    known = [node[key] for key in (*_LOWER, *_UPPER) if key in node]
    within = all(isinstance(bound, int | float) and abs(bound) < LARGEST for bound in known)
    step = {"multipleOf": STEP} if "number" in _types(node) else {}
    return low | high | step if within else {}


def _types(node: Mapping[str, Any]) -> list[Any]:
    kind = node.get("type")
    return kind if isinstance(kind, list) else [kind]


def _joins(node: Mapping[str, Any]) -> bool:
    """Whether it says several things of one value that may each name properties."""
    joined = [key for key in _JOINING if key in node]
    return "allOf" in joined or len(joined) > 1 or (bool(joined) and "properties" in node)


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    """All schemas in a schema, itself first."""
    if not isinstance(node, Mapping):
        return
    yield node
    for key, value in node.items():
        if key in _NAMED and isinstance(value, Mapping):
            inner = list(value.values())
        elif key in _LISTED and isinstance(value, list):
            inner = value
        else:
            inner = [value] if key in _SINGLE else []
        for each in inner:
            yield from _nodes(each)
