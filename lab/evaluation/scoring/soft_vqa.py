"""Soft accuracy of VQAv2 and TextVQA: how many of ten people gave the answer."""

from __future__ import annotations

from lab.evaluation.scoring.share import Share
from lab.evaluation.scoring.vqa_text import normalised_answer
from lab.questions import Question

__all__ = ["VQA_ACCURACY", "agreement"]


def agreement(prediction: str, question: Question) -> float:
    """`min(n / 3, 1)`, averaged over the subsets that leave one person's answer out.

    Of ten people one in agreement gives 0.3, two 0.6, three 0.9, four or more 1. Questions need
    several references: of a single one nothing is left to agree with, which scores 0.
    """
    said = normalised_answer(prediction)
    matches = [normalised_answer(answer) == said for answer in question.answers]
    num_agreeing = sum(matches)
    left = (min((num_agreeing - match) / 3, 1.0) for match in matches)
    return sum(left) / len(matches) if matches else 0.0


VQA_ACCURACY = Share(name="VQA accuracy", rate=agreement)
