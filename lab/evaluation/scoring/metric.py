"""What a metric is: numbers per image that add up, and a value of their sums.

Sums are what a bootstrap resamples: a draw of images is a weighted sum of their counts, whatever
the metric makes of it. The image is the unit that is drawn, since questions about one image are
right or wrong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lab.questions import Question

__all__ = ["Answered", "Floats", "Metric"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A question and what the model said; None when the row was lost to quarantine."""

    question: Question
    prediction: str | None


class Metric(Protocol):
    """How right the answers of one task are.

    Attributes:
        name: the field's name of the value, "exact match".
        maximum: the largest value there is, for tables and axes: 100 for shares. It is the best,
            but for what the registry calls `LESS_IS_BETTER`.
    """

    @property
    def name(self) -> str: ...

    @property
    def maximum(self) -> float: ...

    def score(self, answered: Answered) -> float:
        """How right one answer is, 0 to 1; a lost row scores 0."""

    def counts(self, answered: Sequence[Answered]) -> tuple[float, ...]:
        """The addends of one image's answers; at least one is given."""

    def value(self, sums: Floats) -> Floats:
        """`[...]`, the metric of sums `[..., k]` of counts; 0 where there is nothing to divide."""
