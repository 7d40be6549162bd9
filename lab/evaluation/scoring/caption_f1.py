"""Caption F1: which coloured shapes and sign texts a caption names, and which it should."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.evaluation.scoring.captions import items_named, items_shown
from lab.evaluation.scoring.metric import Answered, Floats
from lab.evaluation.scoring.share import f1_of

__all__ = ["CaptionF1"]


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
