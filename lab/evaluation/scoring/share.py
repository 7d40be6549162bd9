"""Metrics that are the mean of a score per answer, and the arithmetic that metrics share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lab.evaluation.scoring.metric import Answered, Floats
from lab.questions import Question

__all__ = ["Share", "f1_of", "quotient"]


@dataclass(frozen=True, kw_only=True)
class Share:
    """`maximum` times the mean of `rate` over all answers; a lost row counts as a score of 0.

    Counts of an image: (sum of scores, number of questions).

    Attributes:
        name: the field's name of the value.
        rate: prediction and question -> 0 to 1.
        maximum: the value of all-right answers; 100 makes it a percentage.
    """

    name: str
    rate: Callable[[str, Question], float]
    maximum: float = 100.0

    def score(self, answered: Answered) -> float:
        """How right one answer is, 0 to 1; a lost row scores 0."""
        if answered.prediction is None:
            return 0.0
        return self.rate(answered.prediction, answered.question)

    def counts(self, answered: Sequence[Answered]) -> tuple[float, ...]:
        """(sum of scores, number of questions)."""
        return math.fsum(map(self.score, answered)), float(len(answered))

    def value(self, sums: Floats) -> Floats:
        """`[...]`, `maximum` times the mean score; 0 where no question was asked."""
        return self.maximum * quotient(sums[..., 0], sums[..., 1])


def f1_of(sums: Floats) -> Floats:
    """`[...]`, 0 to 100: F1 of sums `[..., 3]` of (right, predicted, true) items; 0 if none."""
    return 100.0 * quotient(2.0 * sums[..., 0], sums[..., 1] + sums[..., 2])


def quotient(numerator: Floats, denominator: Floats) -> Floats:
    """`numerator / denominator`, 0 where the denominator is 0."""
    zeros = np.zeros(np.shape(denominator), dtype=np.float64)
    return np.divide(numerator, denominator, out=zeros, where=np.asarray(denominator) > 0)
