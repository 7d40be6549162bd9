"""Examples as they are shown: a caption or a quarantined row, with its image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.report.showing.budgets import BudgetMap, budget_map
from pipeline.report.showing.pictures import Picture, image_id_of
from pipeline.rows.row import Row
from pipeline.rows.schemas import CAPTIONS_SCHEMA, QUARANTINE_SCHEMA

__all__ = ["Card", "clipped", "make_card", "shown"]

_TEXT: Final = 1500
_NAME: Final = 300
_MOST_COLUMNS: Final = 24
_OURS: Final = {*CAPTIONS_SCHEMA.names, *QUARANTINE_SCHEMA.names, "prompt_name"}


@dataclass(frozen=True, kw_only=True)
class Card:
    """One row.

    Attributes:
        facts: a few words each, for the line below the text.
        others: columns that are the user's own, or of a later version.
        budgets: how its tokens lie on the image; None where that is not told.
    """

    image_id: str
    text: str
    prompt: str
    prompt_name: str
    flags: tuple[str, ...]
    code: str
    facts: tuple[str, ...]
    others: tuple[tuple[str, str], ...]
    picture: Picture
    budgets: BudgetMap | None


def make_card(row: Row, pictures: Mapping[str, Picture]) -> Card:
    """Of a row of captions or of quarantine."""
    image_id = str(row.get("image_id") or "")
    rejected = row.get("error_code") is not None
    return Card(
        image_id=clipped(image_id, _NAME),
        text=clipped(row.get("error_detail") if rejected else row.get("text"), _TEXT),
        prompt=clipped(row.get("prompt"), _TEXT),
        prompt_name=clipped(row.get("prompt_name"), _NAME),
        flags=tuple(clipped(flag, _NAME) for flag in row.get("flags") or []),
        code=clipped(row.get("error_code"), _NAME),
        facts=tuple(_facts(row)),
        others=tuple(_others(row)),
        picture=pictures.get(image_id_of(row), Picture(why="it was not looked for")),
        budgets=budget_map(row),
    )


def _facts(row: Row) -> Sequence[str]:
    dense, kept = row.get("visual_tokens_dense"), row.get("visual_tokens_kept")
    told = [
        f"{row['width']} x {row['height']}" if row.get("width") and row.get("height") else "",
        f"{kept:,} of {dense:,} visual tokens" if dense and kept is not None else "",
        f"{row['output_tokens']:,} tokens of text" if row.get("output_tokens") is not None else "",
        f"told by {row['error_stage']}" if row.get("error_stage") else "",
    ]
    return [clipped(fact, _NAME) for fact in told if fact]


def _others(row: Row) -> Sequence[tuple[str, str]]:
    mine = [(name, value) for name, value in row.items() if name not in _OURS]
    return [
        (clipped(n, _NAME), clipped(v, _NAME)) for n, v in mine[:_MOST_COLUMNS] if v is not None
    ]


def clipped(value: Any, most: int) -> str:
    """As text that a page can hold: cut, and control characters shown as what they are not."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else str(value)
    cut = text if len(text) <= most else f"{text[:most]}…"
    return shown(cut)


def shown(text: str) -> str:
    """Control characters, but for line ends and tabs, and halves of pairs as U+FFFD."""
    return "".join(
        "\ufffd" if (sign < " " and sign not in "\n\t") or "\x7f" <= sign <= "\x9f" or _half(sign)
        else sign
        for sign in text
    )  # fmt: skip


def _half(sign: str) -> bool:
    return "\ud800" <= sign <= "\udfff"
