"""ANLS, average normalised Levenshtein similarity, the metric of DocVQA (Biten et al., 2019).

Similarity is `1 - distance / length of the longer text`, without regard to case and to how words
are spaced; the best reference counts; below 0.5 it is 0, so that a wrong answer earns nothing for
letters it happens to share. The paper has a similarity of exactly 0.5 score 0, the challenge's
published evaluation 0.5: numbers come from the latter, which is followed. That evaluation divides
by lengths taken before spaces are squeezed; here both come from the same texts.
"""

from __future__ import annotations

from lab.evaluation.scoring.share import Share
from lab.questions import Question

__all__ = ["ANLS", "best_similarity", "levenshtein", "similarity"]

THRESHOLD = 0.5


def levenshtein(one: str, other: str) -> int:
    """The least number of inserted, deleted and replaced characters between two texts."""
    row = list(range(len(other) + 1))
    for i, mine in enumerate(one, start=1):
        diagonal, row[0] = row[0], i
        for j, theirs in enumerate(other, start=1):
            replaced = diagonal + (mine != theirs)
            diagonal, row[j] = row[j], min(replaced, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def similarity(one: str, other: str) -> float:
    """0 (nothing alike) to 1 (equal, also when both are empty)."""
    one, other = (" ".join(text.lower().split()) for text in (one, other))
    longest = max(len(one), len(other))
    return 1.0 - levenshtein(one, other) / longest if longest else 1.0


def best_similarity(prediction: str, question: Question) -> float:
    """The similarity to the nearest reference, 0 if it is under the threshold."""
    best = max((similarity(prediction, answer) for answer in question.answers), default=0.0)
    return best if best >= THRESHOLD else 0.0


ANLS = Share(name="ANLS", rate=best_similarity)
