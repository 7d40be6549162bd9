"""Rows whose image was met before are told whose caption they get, and go no further."""

from __future__ import annotations

import hashlib

from pipeline.copies.claims import Asked, Finder, Likeness
from pipeline.rows.row import Row, is_active, is_copy

__all__ = ["MetBefore", "asked_of"]


class MetBefore:
    """Asks the registry for each question of each image, many in one call.

    Args:
        likeness: whether images that look alike count as one.
    """

    def __init__(self, registry: Finder, *, likeness: bool) -> None:
        self._registry = registry
        self._likeness = likeness

    def by_bytes(self, rows: list[Row]) -> None:
        """Before decoding. Every image is hashed, that of a failed row as well: by that its copies
        find out, should it be a first that has failed since."""
        for row in rows:
            if row["image"] is not None:
                row["sha256"] = hashlib.sha256(row["image"]).hexdigest()
        places = [place for row in rows if is_active(row) for place in _questions(row)]
        claims = self._registry.claim([asked for _, _, asked in places]) if places else []
        for (row, index, _), claim in zip(places, claims, strict=True):
            row.setdefault("numbers", {})[index] = claim.number
            if not claim.is_first:
                _note(row, index, claim.number)

    def by_likeness(self, rows: list[Row]) -> None:
        """After decoding."""
        if not self._likeness:
            return
        seen = [row for row in rows if is_active(row) and row.get("phash") is not None]
        places = [(row, index, asked) for row in seen for row, index, asked in _questions(row)]
        left = [p for p in places if p[0]["firsts"] is None or p[0]["firsts"][p[1]] is None]
        asks = [_likeness(row, index, asked) for row, index, asked in left]
        found = self._registry.liken(asks) if asks else []
        for (row, index, _), ask, is_near in zip(left, asks, found, strict=True):
            if is_near:
                _note(row, index, ask.number)
        for row in filter(is_copy, seen):
            row["partitions"] = None  # Nobody looks at them.


def asked_of(row: Row) -> Asked | None:
    """What an answered row was asked; None if it could not be hashed, or was asked nothing."""
    sha256, prompt = row.get("sha256"), row.get("prompt")
    if sha256 is None or prompt is None or not prompt.strip():
        return None
    return Asked(sha256, prompt, row["image_id"])


def _questions(row: Row) -> list[tuple[Row, int, Asked]]:
    """Those that can be asked; a blank one fails by itself, later."""
    pairs = zip(row["row_ids"], row["prompts"], strict=True)
    each = (row | {"image_id": row_id, "prompt": prompt} for row_id, prompt in pairs)
    found = [(row, index, asked_of(question)) for index, question in enumerate(each)]
    return [(row, index, asked) for row, index, asked in found if asked is not None]


def _likeness(row: Row, index: int, asked: Asked) -> Likeness:
    return Likeness(row["numbers"][index], asked, row["phash"], row["width"], row["height"])


def _note(row: Row, index: int, number: int) -> None:
    row["firsts"] = row["firsts"] or [None] * len(row["row_ids"])
    row["firsts"][index] = number
