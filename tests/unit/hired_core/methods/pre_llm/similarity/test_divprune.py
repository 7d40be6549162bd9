"""DivPrune: tokens that are farthest from each other; with the centring correction as well."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from tests.support.evidence import SIZES, cosine, groups, kept, one_partition, random_evidence


def at_angles(*degrees: float) -> torch.Tensor:
    return torch.tensor([[math.cos(math.radians(d)), math.sin(math.radians(d))] for d in degrees])


def first_tokens(name: str, features: torch.Tensor) -> list[set[int]]:
    evidence = one_partition(features=features)
    return [
        set(kept(name, evidence, [budget])[0, 0].nonzero()[:, 0].tolist()) for budget in range(5)
    ]


def test_by_hand() -> None:
    """At 180 degrees the nearest other is 90 away, at 90 it is 80; 0 is farthest from 180."""
    found = first_tokens("divprune", at_angles(0, 10, 90, 180))
    assert found == [set(), {3}, {0, 3}, {0, 2, 3}, {0, 1, 2, 3}]


def test_length_does_not_matter() -> None:
    scaled = at_angles(0, 10, 90, 180) * torch.tensor([[7.0], [0.1], [3.0], [1.0]])
    assert first_tokens("divprune", scaled) == first_tokens("divprune", at_angles(0, 10, 90, 180))


def test_distinctiveness_by_hand() -> None:
    """Mean cosines to the others are c/3 - 1/3, c'/3, c'/3 and -1/3 - c/3, c = cos 10, c' = cos 80.

    180 degrees is the most distinct and 0 next; 10 and 90 are the least, of weight 0, and tie.
    """
    found = first_tokens("divprune-cen", at_angles(0, 10, 90, 180))
    assert found == [set(), {3}, {0, 3}, {0, 1, 3}, {0, 1, 2, 3}]


def farthest(tokens: Sequence[int], count: int, features: Sequence[Sequence[float]]) -> set[int]:
    """In plain Python, DivPrune."""
    far = {(i, j): 1 - cosine(features[i], features[j]) for i in tokens for j in tokens}
    nearest = {i: min((far[i, j] for j in tokens if j != i), default=0.0) for i in tokens}
    taken: list[int] = []
    while len(taken) < count:
        if taken:
            nearest = {i: min(far[i, s] for s in taken) for i in tokens}
        taken.append(max((i for i in tokens if i not in taken), key=lambda i: nearest[i]))
    return set(taken)


def farthest_centred(
    tokens: Sequence[int], count: int, features: Sequence[Sequence[float]]
) -> set[int]:
    """In plain Python, with the correction."""
    others = max(1, len(tokens) - 1)
    g = {
        i: -math.fsum(cosine(features[i], features[j]) for j in tokens if j != i) / others
        for i in tokens
    }
    low, span = min(g.values()), max(g.values()) - min(g.values())
    weight = {i: (g[i] - low) / span if span else 0.0 for i in tokens}
    mean = [math.fsum(features[i][c] for i in tokens) / len(tokens) for c in range(6)]
    moved = {i: [a - m for a, m in zip(features[i], mean, strict=True)] for i in tokens}
    far = {(i, j): 1 - cosine(moved[i], moved[j]) for i in tokens for j in tokens}
    taken: list[int] = []
    while len(taken) < count:
        nearest = {i: min((far[i, s] for s in taken), default=1.0) for i in tokens}
        open_ = [i for i in tokens if i not in taken]
        taken.append(max(open_, key=lambda i: weight[i] * nearest[i]))
    return set(taken)


@pytest.mark.parametrize("allocation", ["global", "equal", "content"])
@pytest.mark.parametrize(
    ("name", "oracle"), [("divprune", farthest), ("divprune-cen", farthest_centred)]
)
def test_recomputed_apart(name: str, oracle: object, allocation: str) -> None:
    evidence = random_evidence(SIZES, range(6))
    assert evidence.features is not None and callable(oracle)
    keep = kept(name, evidence, [20, 9, 31, 25, 12, 40], allocation=allocation)
    for tokens, picked, features in groups(
        evidence.layout.valid, keep, allocation, evidence.features
    ):
        assert picked == oracle(tokens, len(picked), features)


def test_the_whole_image_competes_unless_told_otherwise() -> None:
    evidence = random_evidence([(112, 112)], [1])
    assert evidence.features is not None
    evidence.features[0, :4] = evidence.features[0, 0, 0]  # Four partitions of equals.
    for name in ("divprune", "divprune-cen"):
        budgets = kept(name, evidence, [15])[0].sum(-1).tolist()
        assert budgets[4] >= 14 and sum(budgets) == 15
        assert kept(name, evidence, [15], allocation="equal")[0].sum(-1).tolist() == [3] * 5
