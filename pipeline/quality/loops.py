"""Runs of words that repeat: what a decoder does that has lost its way."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.quality.phrases import WITHOUT_BLANKS

__all__ = ["Loop", "find_loop", "find_loop_at_end"]

LEAST_COPIES: Final = 4
LEAST_WORDS: Final = 8
LONGEST_UNIT: Final = 32
"""In words. Longer units are looked for in vain: a text seldom has room for four of them."""

LEAST_CHARS_AT_END: Final = 32
_CHARS_AT_END: Final = 4096
"""Of the end of a text that are looked at."""

# A sign of a script without blanks is a word; so is each mark between words.
_WORD: Final = re.compile(rf"[{WITHOUT_BLANKS}]|[^\W_]+|[^\w\s]|_")
_WITHIN: Final = re.compile(r"([^\W\d_]{1,8}?)\1{7,}")  # Of letters: numbers have such runs.


@dataclass(frozen=True)
class Loop:
    """`unit` stands `copies` times without anything between, from character `start` of the text."""

    unit: str
    copies: int
    start: int


def find_loop(text: str) -> Loop | None:
    """The loop of the shortest unit, the first of them; None if nothing loops.

    Words are compared without regard to case; marks count as words, but a unit of marks alone is no
    loop: tables of contents have such. Within a word, eight copies are one ("hahaha...").
    """
    found = list(_WORD.finditer(text))
    for word in found:
        if len(word[0]) >= LEAST_WORDS and (within := _WITHIN.search(word[0])):
            copies = len(within[0]) // len(within[1])
            return Loop(within[1], copies, word.start() + within.start())
    words = [word[0].casefold() for word in found]
    return _loop_of_words(text, found, words) if _may_loop(words) else None


def find_loop_at_end(text: str) -> Loop | None:
    """What a text repeats that was cut at its end; None if it was not repeating itself then.

    Of signs, not words: marks, digits, scripts without blanks and units of any length count, whole
    or cut in the middle. At least 4 copies, which take up 32 characters. For texts that ended by
    themselves it is no rule: a line to sign on is one.
    """
    tail = text.rstrip()[-_CHARS_AT_END:]
    signs = tail.casefold()[::-1]
    if len(signs) != len(tail):  # Folded, some signs become two.
        signs = tail[::-1]
    for length, period in _periods(signs):
        if length >= max(LEAST_CHARS_AT_END, LEAST_COPIES * period):
            start = len(tail) - length
            unit = tail[start : start + period]
            return Loop(unit, length // period, len(text.rstrip()) - length)
    return None


def _periods(signs: str) -> list[tuple[int, int]]:
    """(length, smallest period) of each beginning of `signs`, the longest first.

    By the failure function of Knuth, Morris and Pratt, in time that grows with the length.
    """
    borders, border = [0], 0
    for index in range(1, len(signs)):
        while border and signs[index] != signs[border]:
            border = borders[border - 1]
        border += signs[index] == signs[border]
        borders.append(border)
    return [(i + 1, i + 1 - borders[i]) for i in reversed(range(len(signs)))]


def _may_loop(words: list[str]) -> bool:
    """Whether enough words in a row are there often enough: seldom so, and told in no time."""
    times, row = Counter(words), 0
    for word in words:
        row = row + 1 if times[word] >= LEAST_COPIES else 0
        if row >= LEAST_WORDS:
            return True
    return False


def _loop_of_words(text: str, found: list[re.Match[str]], words: list[str]) -> Loop | None:
    known: dict[str, int] = {}
    ids = np.array([known.setdefault(word, len(known)) for word in words])
    for size in range(1, min(LONGEST_UNIT, len(found) // LEAST_COPIES) + 1):
        for start, length in _runs(ids, size):
            spoken = (at for at in range(size) if found[start + at][0].isalnum())
            # Where that costs no copy, the unit begins with a word, not with the mark before it.
            if (skipped := next(spoken, None)) is not None:
                skipped = skipped if (length - skipped) // size == length // size else 0
                unit = found[start + skipped : start + skipped + size]
                shown = text[unit[0].start() : unit[-1].end()]
                return Loop(shown, length // size, unit[0].start())
    return None


def _runs(ids: npt.NDArray[np.int_], size: int) -> list[tuple[int, int]]:
    """(first word, number of words) of each stretch in which every word equals the one `size`
    before it and which is long enough."""
    needed = max(LEAST_COPIES * size, LEAST_WORDS) - size
    same = ids[size:] == ids[:-size]
    if same.sum() < needed:
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]])))
    pairs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(begin, end - begin + size) for begin, end in pairs if end - begin >= needed]
