"""Multiple choice with lettered options, as ScienceQA is asked: the letter has to be right.

Published evaluations read "B" and "B. Paris", some also "The answer is B"; brackets, a colon and a
small letter standing alone are read here besides.
"""

from __future__ import annotations

import re

from lab.evaluation.scoring.share import Share
from lab.questions import Question

__all__ = ["MULTIPLE_CHOICE", "chosen_letter"]

_ALONE = re.compile(r"\(?([A-Za-z])[.):]?")
_AT_START = re.compile(r"\(?([A-Z])[.):]")
_IN_A_SENTENCE = re.compile(r"\b(?i:answer is|answer:)\s*\(?([A-Z])\b")


def chosen_letter(text: str) -> str | None:
    """The capital letter of the option that an answer names; None if it names none.

    A letter alone ("B", "b.", "(b)"), a capital with its mark in front of the option ("B. Paris"),
    or "the answer is B". The option's words without its letter are no answer, nor is the article
    in "A cat".
    """
    text = text.strip()
    found = _ALONE.fullmatch(text) or _AT_START.match(text) or _IN_A_SENTENCE.search(text)
    return found[1].upper() if found else None


def chooses_rightly(prediction: str, question: Question) -> float:
    """1 if the letter is the reference, else 0."""
    return float(chosen_letter(prediction) in question.answers)


MULTIPLE_CHOICE = Share(name="accuracy", rate=chooses_rightly)
