"""Relaxed accuracy, the metric of ChartQA: numbers may be 5 % off, other answers may not.

How numbers are read is part of the metric, and follows the evaluation that published figures come
from: "12%" is 0.12 (so "12" for "12%" is wrong), "1,234" and "12 km" are no numbers (so they are
compared as text, case apart), and a reference of 0 leaves no margin: it is compared as text too.
"""

from __future__ import annotations

import math

from lab.evaluation.scoring.share import Share
from lab.questions import Question

__all__ = ["RELAXED_ACCURACY", "is_near", "number_in"]

TOLERANCE = 0.05


def number_in(text: str) -> float | None:
    """The finite number that the text is, a percentage as its fraction; None if it is no number."""
    try:
        number = float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def is_near(prediction: str, reference: str) -> bool:
    """Whether a number is within 5 % of the reference, bounds included, or a text the same."""
    prediction, reference = prediction.strip(), reference.strip()
    said, meant = number_in(prediction), number_in(reference)
    if said is None or not meant:
        return prediction.lower() == reference.lower()
    return abs(said - meant) / abs(meant) <= TOLERANCE


def near_any(prediction: str, question: Question) -> float:
    """1 if the prediction is near one of the references, else 0."""
    return float(any(is_near(prediction, answer) for answer in question.answers))


RELAXED_ACCURACY = Share(name="relaxed accuracy", rate=near_any)
