"""What an evaluation asks: images, questions about them, and reference answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BenchmarkImage", "Question"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about one image.

    Attributes:
        question_id: unique within its benchmark.
        task: what is tested, the row of the results table: "count", "textvqa".
        text: the prompt put to the model.
        answers: reference answers; what several of them mean is the metric's business.
        details: what else a metric or a table may group by: "kind", "category".
    """

    question_id: str
    task: str
    text: str
    answers: tuple[str, ...]
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BenchmarkImage:
    """An image file and what is asked about it."""

    image_id: str
    data: bytes
    questions: tuple[Question, ...]
