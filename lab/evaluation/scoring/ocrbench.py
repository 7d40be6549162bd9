"""The score of OCRBench (Liu et al., 2023): the reference has to occur in the answer."""

from __future__ import annotations

from lab.evaluation.scoring.share import Share
from lab.questions import Question

__all__ = ["OCRBENCH_SCORE", "contains_reference"]

_HANDWRITTEN_MATHS = "HME100k"


def contains_reference(prediction: str, question: Question) -> float:
    """1 if one of the references occurs in the prediction, else 0; an empty one never does.

    Case is set aside and a line break is a space. Handwritten mathematical expressions
    (`details["dataset"]` is "HME100k") are LaTeX: there spaces mean nothing and case does.
    """
    is_maths = question.details.get("dataset") == _HANDWRITTEN_MATHS
    seen = _without_spaces if is_maths else _without_case
    said = seen(prediction)
    references = (seen(answer) for answer in question.answers)
    return float(any(reference and reference in said for reference in references))


def _without_spaces(text: str) -> str:
    return "".join(text.split())


def _without_case(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


OCRBENCH_SCORE = Share(name="OCRBench score", rate=contains_reference, maximum=1000.0)
"""Out of 1000, as it is published: on the whole benchmark, the number of right answers."""
