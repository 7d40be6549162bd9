"""What is said of a picture that is not simply what its file holds: names, and what each means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

NOTES: Final[dict[str, str]] = {
    "end_missing": "the file ends early, and every line of the picture is there",
    "truncated": "the file ends in the middle: the picture is cut to the part that is there",
    "checksum_wrong": "a checksum of a PNG does not fit; the chunk is left out if it can be",
    "range_scaled": "10, 12, 14 bits in a 16-bit type, floats and the like: scaled by their range",
    "ground_black": "transparent and near white: laid over black, or nothing were to be seen",
    "frame": "frame N of an animation, since those before it are of one colour",
    "page": "page N of a TIFF, since the first is a thumbnail of it",
}
"""By kind. In a list of notes the last two have their number: `frame_2`, `page_3`."""

MAX_NOTES: Final = len(NOTES)
_NUMBERED: Final = ("frame", "page")
_NUMBER: Final = re.compile(r"_[1-9][0-9]{0,5}$")


def kind_of(note: str) -> str:
    """The name in `NOTES` that `note` goes by."""
    return _NUMBER.sub("", note)


def are_notes(texts: Sequence[str]) -> bool:
    """Whether these could be the notes of one picture; they may come from a hostile child."""
    return len(texts) <= MAX_NOTES and all(
        kind_of(text) in NOTES and (text in NOTES) != (kind_of(text) in _NUMBERED) for text in texts
    )
