"""File names written as parts of ids: printable, and with a way back to the file."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from pipeline.sources.keys import encode_unsafe

__all__ = ["meant", "spelled"]

_LIKE_A_KEY: Final = re.compile(r"(\.(?:parquet|parq|pq|arrow|tar|tgz|t?zst|gz|bz2?|tbz2))#", re.I)
"""An image called `x.tar#1.jpg` beside x.tar would have the id of a sample there."""


def spelled(name: str) -> str:
    """`name` as it stands in ids: as it is, where that is safe to print and to compare.

    Else what is unsafe (`encode_unsafe`) is percent-encoded, and so is each '%'. `meant` undoes
    it: names that could be taken for the spelling of another one are encoded, too.
    """
    if not _has_spelling(name):
        return name
    return _LIKE_A_KEY.sub(r"\1%23", encode_unsafe(name.replace("%", "%25")))


def meant(text: str) -> str:
    """The name whose spelling is `text`."""
    name = _unquoted(text)
    return name if name != text and _has_spelling(name) else text


def _has_spelling(name: str) -> bool:
    """Whether `name` is written otherwise than it is."""
    if encode_unsafe(name) != name or _LIKE_A_KEY.search(name):
        return True
    plain = _unquoted(name)
    return plain != name and _has_spelling(plain)


def _unquoted(text: str) -> str:
    if "%" not in text:
        return text
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode(
        "utf-8", "surrogateescape"
    )
