"""Yes/no questions as POPE (Li et al., 2023) measures them: F1 of "yes", accuracy, yes-rate.

A free answer is turned into yes or no by its first sentence: "no" if that has the word "no" or
"not", "yes" otherwise, even if it says something else or nothing at all. POPE looks for "No", "no"
and "not" between single spaces; here any case and any whitespace will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.evaluation.scoring.metric import Answered, Floats
from lab.evaluation.scoring.share import Share, f1_of, quotient
from lab.questions import Question

__all__ = ["YES_NO_ACCURACY", "YesNoF1", "YesRate", "says_yes"]


def says_yes(text: str) -> bool:
    """Whether an answer in free text means yes."""
    first_sentence = text.split(".", maxsplit=1)[0]
    words = first_sentence.replace(",", "").lower().split()
    return "no" not in words and "not" not in words


def means_yes(question: Question) -> bool:
    """Whether the right answer is yes."""
    return question.answers[0].strip().lower() == "yes"


def agrees(prediction: str, question: Question) -> float:
    """1 if prediction and reference are both yes or both no, else 0."""
    return float(says_yes(prediction) == means_yes(question))


YES_NO_ACCURACY = Share(name="accuracy", rate=agrees)


@dataclass(frozen=True, kw_only=True)
class YesNoF1:
    """F1 of the answer yes, micro-averaged, 0 to 100.

    A lost row counts as the wrong answer, whichever that is: a missed yes where yes is right, a
    false yes where no is right. Counts of an image: (yes rightly said, yes said, yes right).
    """

    name: str = "F1"
    maximum: float = 100.0

    def score(self, answered: Answered) -> float:
        """1 if the answer is right, else 0."""
        return YES_NO_ACCURACY.score(answered)

    def counts(self, answered: Sequence[Answered]) -> tuple[float, ...]:
        """(yes rightly said, yes said, yes right), a lost row as the wrong answer."""
        right = [means_yes(item.question) for item in answered]
        said = [self._said(item, yes) for item, yes in zip(answered, right, strict=True)]
        both = sum(one and other for one, other in zip(said, right, strict=True))
        return float(both), float(sum(said)), float(sum(right))

    def value(self, sums: Floats) -> Floats:
        """`[...]`, F1; 0 where nobody said yes and nothing was."""
        return f1_of(sums)

    def _said(self, answered: Answered, right: bool) -> bool:
        return not right if answered.prediction is None else says_yes(answered.prediction)


@dataclass(frozen=True, kw_only=True)
class YesRate:
    """Share of answers that say yes, right or wrong, 0 to 100; balanced questions call for 50.

    A lost row says neither and is left out. Counts of an image: (yes said, answers given).
    """

    name: str = "yes-rate"
    maximum: float = 100.0

    def score(self, answered: Answered) -> float:
        """1 for a yes, right or wrong, else 0."""
        return float(answered.prediction is not None and says_yes(answered.prediction))

    def counts(self, answered: Sequence[Answered]) -> tuple[float, ...]:
        """(yes said, answers given)."""
        num_given = sum(item.prediction is not None for item in answered)
        return sum(map(self.score, answered)), float(num_given)

    def value(self, sums: Floats) -> Floats:
        """`[...]`, the share of yes; 0 where every row was lost."""
        return 100.0 * quotient(sums[..., 0], sums[..., 1])
