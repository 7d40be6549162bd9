"""Where values stand in a rendered text, and control tokens broken there.

A control token (`</s>`, `<|im_end|>`, the image placeholder) ends a turn or begins one. A template
may hold one, since it is the user's own; a value may not, nor a value together with what is beside
it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["marked", "unmarked", "without_control"]

_BEGIN: Final = "\ufdd0"
_END: Final = "\ufdd1"
"""No characters of any text: Unicode keeps them for use inside of programs."""

_ROUNDS: Final = 8


def unmarked(text: str) -> str:
    """`text` without marks."""
    return text.replace(_BEGIN, "").replace(_END, "")


def marked(text: str) -> str:
    """`text` as that of a value, whatever was marked in it."""
    return f"{_BEGIN}{unmarked(text)}{_END}"


def without_control(text: str, tokens: Sequence[str]) -> str:
    """A marked text without marks; in control tokens that hold a character of a value, a blank
    stands behind their first character.

    Raises:
        ValueError: if that does not help.
    """
    plain, mask = _taken_apart(text)
    pattern = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    for _ in range(_ROUNDS if pattern else 0):
        found = [
            m for m in re.finditer(f"(?=({pattern}))", plain) if any(mask[m.start(1) : m.end(1)])
        ]
        if not found:
            return plain
        for each in reversed(found):
            at = each.start() + 1
            plain, mask = f"{plain[:at]} {plain[at:]}", [*mask[:at], True, *mask[at:]]
    if pattern:
        raise ValueError("holds control tokens of the model")
    return plain


def _taken_apart(text: str) -> tuple[str, list[bool]]:
    """Without marks, and which characters are of values."""
    plain: list[str] = []
    mask: list[bool] = []
    depth, whole = 0, True
    for char in text:
        if char in (_BEGIN, _END):
            depth += 1 if char == _BEGIN else -1
            whole = whole and depth >= 0
        else:
            plain.append(char)
            mask.append(depth > 0)
    # A filter may have cut a mark off: then all of it is taken for values.
    return "".join(plain), mask if whole and depth == 0 else [True] * len(plain)
