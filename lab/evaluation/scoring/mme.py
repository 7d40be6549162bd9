"""The score of MME (Fu et al., 2023): two yes/no questions an image, both to be got right.

A category's score is accuracy plus accuracy-plus, each 0 to 100: the share of questions answered
rightly, and the share of images of which every question was. Perception is the sum of ten
categories (at most 2000), cognition of four (at most 800); tables mostly show perception alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.evaluation.scoring.metric import Answered, Floats
from lab.evaluation.scoring.share import quotient

__all__ = ["MME_CATEGORIES", "MME_METRICS", "MmeScore", "yes_or_no"]

_PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
_COGNITION = (
    "commonsense_reasoning",
    "numerical_calculation",
    "text_translation",
    "code_reasoning",
)

MME_CATEGORIES = (*_PERCEPTION, *_COGNITION)
"""What `question.details["category"]` may be."""


def yes_or_no(text: str) -> str | None:
    """ "yes" or "no" by how the answer starts, None if it is neither, which is wrong.

    "y" and "n" alone will do; of anything else the first four characters have to hold the word.
    """
    text = text.lower().strip().replace(".", "")
    if text in ("y", "n"):
        return "yes" if text == "y" else "no"
    start = text[:4]
    return next((word for word in ("yes", "no") if word in start), None)


@dataclass(frozen=True, kw_only=True)
class MmeScore:
    """Sum of the scores of categories; a lost row is a wrong answer.

    Counts of an image, for each category in turn: (questions right, questions, 1 if all of the
    image's questions are right, 1), all 0 where the image is of another category.
    """

    name: str
    categories: tuple[str, ...]

    @property
    def maximum(self) -> float:
        """200 for each category."""
        return 200.0 * len(self.categories)

    def score(self, answered: Answered) -> float:
        """1 if this one answer is right, else 0."""
        if answered.prediction is None:
            return 0.0
        reference = answered.question.answers[0].strip().lower()
        return float(yes_or_no(answered.prediction) == reference)

    def counts(self, answered: Sequence[Answered]) -> tuple[float, ...]:
        """Four addends for each category."""
        return tuple(
            addend
            for category in self.categories
            for addend in self._counts_of_one(
                [item for item in answered if item.question.details["category"] == category]
            )
        )

    def value(self, sums: Floats) -> Floats:
        """`[...]`, accuracy and accuracy-plus of all categories added up."""
        by_category = sums.reshape(*sums.shape[:-1], len(self.categories), 4)
        accuracy = quotient(by_category[..., 0], by_category[..., 1])
        accuracy_plus = quotient(by_category[..., 2], by_category[..., 3])
        total: Floats = 100.0 * (accuracy + accuracy_plus).sum(axis=-1)
        return total

    def _counts_of_one(self, answered: Sequence[Answered]) -> tuple[float, ...]:
        if not answered:
            return 0.0, 0.0, 0.0, 0.0
        num_right = sum(map(self.score, answered))
        return num_right, float(len(answered)), float(num_right == len(answered)), 1.0


MME_METRICS = (
    MmeScore(name="MME perception", categories=_PERCEPTION),
    MmeScore(name="MME cognition", categories=_COGNITION),
    *(MmeScore(name=f"MME {category}", categories=(category,)) for category in MME_CATEGORIES),
)
"""Both totals, then every category by itself."""
