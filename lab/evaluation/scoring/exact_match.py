"""Exact match, but for case, surrounding whitespace and a full stop at the end."""

from __future__ import annotations

import unicodedata

from lab.evaluation.scoring.share import Share
from lab.questions import Question

__all__ = ["EXACT_MATCH", "matches_exactly", "normalised"]


def normalised(text: str) -> str:
    """The text without what exact match looks over.

    Case is folded ("STRASSE" is "straße"), composed and decomposed accents are the same, full stops
    go at the end only: ".5" stays a half.
    """
    return unicodedata.normalize("NFC", text).casefold().strip().rstrip(".").rstrip()


def matches_exactly(prediction: str, question: Question) -> float:
    """1 if the prediction is one of the references, normalised alike, else 0."""
    said = normalised(prediction)
    return float(any(said == normalised(answer) for answer in question.answers))


EXACT_MATCH = Share(name="exact match", rate=matches_exactly)
