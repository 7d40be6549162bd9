"""What a caption names of what it should, and what it invents: coloured shapes and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.evaluation.scoring.captions import items_named, items_shown
from lab.evaluation.scoring.metric import Answered, Floats
from lab.evaluation.scoring.share import f1_of, quotient

__all__ = ["CaptionF1", "Invented"]


@dataclass(frozen=True, kw_only=True)
class CaptionF1:
    """F1 of objects and texts together, micro-averaged over captions, 0 to 100.

    What an image shows is JSON in the question's `details["truth"]`.

    A lost row names nothing: all that it should have named is missed. Counts of an image: (items
    rightly named, items named, items shown).
    """

    name: str = "caption F1"
    maximum: float = 100.0

    def score(self, answered: Answered) -> float:
        """F1 of one caption, 0 to 1; 1 if there is nothing to say and nothing is said."""
        if answered.prediction is None:
            return 0.0
        named, shown = (
            items_named(answered.prediction),
            items_shown(answered.question.details["truth"]),
        )
        total = len(named) + len(shown)
        return 2 * len(named & shown) / total if total else 1.0

    def counts(self, answered: Sequence[Answered]) -> tuple[float, ...]:
        """(items rightly named, items named, items shown)."""
        pairs = [
            (items_named(a.prediction or ""), items_shown(a.question.details["truth"]))
            for a in answered
        ]
        return (
            float(sum(len(named & shown) for named, shown in pairs)),
            float(sum(len(named) for named, _ in pairs)),
            float(sum(len(shown) for _, shown in pairs)),
        )

    def value(self, sums: Floats) -> Floats:
        """`[...]`, F1; 0 where nothing was to say and nothing was said."""
        return f1_of(sums)


@dataclass(frozen=True, kw_only=True)
class Invented:
    """Share of the named items that are not there, pooled over captions, 0 to 100: less is better.

    CHAIR_i of Rohrbach et al. (arXiv:1809.02156), where synonyms are none and the
    truth is complete; signs, lines of forms and bars of charts count like objects, each item once
    however often said. What an image shows is JSON in the question's `details["truth"]`. A share
    and not a number: who says less should not look better. A lost row names nothing. Counts of an
    image: (items invented, items named).
    """

    name: str = "invented, % of named (less is better)"
    maximum: float = 100.0

    def score(self, answered: Answered) -> float:
        """1 where nothing is invented, 0 where all is; of a lost row 0."""
        if answered.prediction is None:
            return 0.0
        invented, named = _counted(answered)
        return 1.0 - invented / named if named else 1.0

    def counts(self, answered: Sequence[Answered]) -> tuple[float, ...]:
        """(items invented, items named)."""
        pairs = [_counted(each) for each in answered]
        return float(sum(pair[0] for pair in pairs)), float(sum(pair[1] for pair in pairs))

    def value(self, sums: Floats) -> Floats:
        """`[...]`, the share in percent; 0 where nothing was named."""
        return self.maximum * quotient(sums[..., 0], sums[..., 1])


def _counted(answered: Answered) -> tuple[int, int]:
    """(items invented, items named)."""
    named = items_named(answered.prediction or "")
    return len(named - items_shown(answered.question.details["truth"])), len(named)
