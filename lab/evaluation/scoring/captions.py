"""What a caption names, read back from its words."""

from __future__ import annotations

import json
import re

from lab.rendering.vocabulary import COLOURS, KEYS, SHAPES

__all__ = ["Items", "items_named", "items_shown"]

Items = frozenset[tuple[str, str]]
"""(colour, shape), ("sign", text), (key of a form, value) and (label of a chart, value)."""

_OBJECT = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b", re.IGNORECASE)
_SIGN = re.compile(r"\bsign that says ([A-Z0-9]+)")
_LINE = re.compile(rf"\b({'|'.join(KEYS)}) ([A-Z0-9]+)\b")
_BAR = re.compile(r"\b([A-Z]) (\d+)\b")


def items_named(caption: str) -> Items:
    """What a caption says, each item once however often said, whatever stands between them."""
    objects = {(colour.lower(), shape.lower()) for colour, shape in _OBJECT.findall(caption)}
    signs = {("sign", text) for text in _SIGN.findall(caption)}
    lines, bars = set(_LINE.findall(caption)), set(_BAR.findall(caption))
    return frozenset(objects | signs | lines | (bars if "chart" in caption.lower() else set()))


def items_shown(truth: str) -> Items:
    """What there is to say, from `render.tasks.truth_json`."""
    shown = json.loads(truth)
    objects = {(colour.lower(), shape.lower()) for colour, shape in shown["objects"]}
    signs = {("sign", text) for text in shown["signs"]}
    lines = set(shown.get("form", {}).items())
    bars = {(label, str(value)) for label, value in shown.get("chart", {}).items()}
    return frozenset(objects | signs | lines | bars)
