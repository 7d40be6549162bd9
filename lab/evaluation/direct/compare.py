"""Values, intervals and paired differences of answers in memory, for searching among settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.evaluation.results.answers import Answer
from lab.evaluation.results.measure import count, measure
from lab.evaluation.store import AskedImage
from lab.questions import BenchmarkImage

__all__ = ["compare"]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A line of a table, and which it is compared with."""

    label: str
    against: Mapping[str, str] = field(default_factory=dict)


def compare(
    answers: Mapping[str, Sequence[Sequence[Answer]]],
    images: Sequence[BenchmarkImage],
    *,
    against: str | None = None,
    num_draws: int = 2000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One entry for each label, task and metric, and the average over tasks, as `measure` has them.

    Args:
        answers: of `answer_directly`, about these images.
        against: a label; every other one's entries then have `entry["minus"][against]`, the paired
            difference to it.
    """
    asked = [_asked(number, image) for number, image in enumerate(images)]
    tasks = list(dict.fromkeys(q.task for image in images for q in image.questions))
    counts = {
        label: count(asked, _by_row(asked, given), tasks, [True] * len(asked))
        for label, given in answers.items()
    }
    rows = [_Row(label=label, against=_other(label, against)) for label in answers]
    return measure(rows, counts, asked, tasks, num_draws=num_draws, seed=seed)


def _other(label: str, against: str | None) -> dict[str, str]:
    return {} if against is None or against == label else {against: against}


def _asked(number: int, image: BenchmarkImage) -> AskedImage:
    return AskedImage(
        image_id=image.image_id,
        digest=hashlib.sha256(image.data).hexdigest(),
        questions=image.questions,
        row_ids=tuple(f"{number}#{k}" for k in range(len(image.questions))),
    )


def _by_row(asked: Sequence[AskedImage], answers: Sequence[Sequence[Answer]]) -> dict[str, Answer]:
    return {
        row_id: answer
        for image, given in zip(asked, answers, strict=True)
        for row_id, answer in zip(image.row_ids, given, strict=True)
    }
