"""What counts as the same answer in VQA (Antol et al., 2015): the benchmark's normalisation.

Punctuation goes (into nothing or into a space), number words become digits, articles go, and
contractions get the apostrophes that people leave out. Both the prediction and every reference pass
through; the published evaluation leaves the references alone when all ten are the same string.
"""

from __future__ import annotations

import re

__all__ = ["normalised_answer"]

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,+(?=\d)")
_FULL_STOP = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBERS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}

# The benchmark's list, which leaves most words alone that exist without the apostrophe: its, were.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
    haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't
    mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
    shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
    someone's something'd something'd've something'll that's there'd there'd've there're there's
    they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're
    why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're
    you've
"""


def _without_one_apostrophe(word: str) -> list[str]:
    return [word[:at] + word[at + 1 :] for at, letter in enumerate(word) if letter == "'"]


_CONTRACTED = {
    misspelt: word for word in _CONTRACTIONS.split() for misspelt in _without_one_apostrophe(word)
}


def normalised_answer(text: str) -> str:
    """The form in which two answers are compared for equality.

    "1,234" -> "1234"; "Two dogs." -> "2 dogs"; "the stop-sign" -> "stop sign"; "3.5" stays.
    """
    words = _without_punctuation(text.strip()).lower().split()
    digits = [_NUMBERS.get(word, word) for word in words]
    return " ".join(_CONTRACTED.get(word, word) for word in digits if word not in _ARTICLES)


def _without_punctuation(text: str) -> str:
    """Marks beside a space, and all marks if a comma groups digits, go; others become a space."""
    grouped = _COMMA_IN_NUMBER.search(text) is not None
    kept = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        kept = kept.replace(mark, "" if grouped or beside_space else " ")
    return _FULL_STOP.sub("", kept)
