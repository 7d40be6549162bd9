"""What the tests of the metrics share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lab.evaluation.scoring.metric import Answered, Metric
from lab.questions import Question


def answered(prediction: str | None, *references: str, **details: str) -> Answered:
    """A prediction for a question with these references."""
    question = Question(
        question_id="q", task="t", text="?", answers=references, details=dict(details)
    )
    return Answered(question=question, prediction=prediction)


def value_of(metric: Metric, images: Sequence[Sequence[Answered]]) -> float:
    """The metric over images, each given as its answers."""
    return float(metric.value(np.sum([metric.counts(image) for image in images], axis=0)))
