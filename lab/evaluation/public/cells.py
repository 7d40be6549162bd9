"""What readers take from a row: image bytes, texts, reference answers.

A cell that cannot be used is a `ValueError` that names the column; `Reading` adds where it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

__all__ = [
    "SHORT_ANSWER",
    "Row",
    "answers_in",
    "image_bytes",
    "image_digest",
    "text_in",
    "yes_or_no_in",
]

Row = Mapping[str, Any]

SHORT_ANSWER = "\nAnswer the question using a single word or phrase."
"""What LLaVA and lmms-eval add to a question, so that the answer can be compared."""


def image_bytes(row: Row) -> bytes | None:
    """The encoded image, stored as bytes or as the hub's `{bytes, path}`; None if there is none."""
    cell = row["image"]
    data: bytes | None = cell["bytes"] if isinstance(cell, Mapping) else cell
    return data


def image_digest(row: Row) -> str:
    """A name for an image that comes without one: half the SHA-256 of its bytes."""
    return hashlib.sha256(image_bytes(row) or b"").hexdigest()[:32]


def text_in(row: Row, column: str) -> str:
    """The cell as text; numbers are spelt out, lists joined by commas."""
    cell = row[column]
    if cell is None:
        raise ValueError(f"{column} is null")
    return ", ".join(map(str, cell)) if isinstance(cell, list) else str(cell)


def answers_in(row: Row, column: str) -> tuple[str, ...]:
    """Reference answers: one text, a list of texts, or a list of `{answer, ...}`."""
    cell = row[column]
    items = cell if isinstance(cell, list) else [cell]
    given = [item["answer"] if isinstance(item, Mapping) else item for item in items]
    answers = tuple(str(answer) for answer in given if answer is not None)
    if not any(answers):
        raise ValueError(f"{column} holds no answer; test splits are often stored without")
    return answers


def yes_or_no_in(row: Row, column: str) -> tuple[str]:
    """The one reference answer, "yes" or "no" in small letters."""
    answer = text_in(row, column).strip().lower()
    if answer not in ("yes", "no"):
        raise ValueError(f"{column} is {answer!r}, neither yes nor no")
    return (answer,)
