"""SCOPE: salient tokens that cover what is not covered yet."""

from __future__ import annotations

import pytest
import torch

from tests.support.evidence import SIZES, cosine, groups, kept, one_partition, random_evidence

AXES = torch.eye(3)


@pytest.mark.parametrize(
    ("exponent", "order"),
    # Gains 2 2 2 1, then 0 0 2 1, then 0 0 0 1; without saliency 2 2 1 1, 0 0 1 1, 0 0 0 1.
    [(1, [0, 2, 3, 1]), (0, [0, 2, 3, 1]), (2, [2, 0, 3, 1])],
)
def test_by_hand(exponent: float, order: list[int]) -> None:
    """0 and 1 are the same, 2 is twice as salient; of equal gains the first is taken."""
    features = torch.stack([AXES[0], AXES[0], AXES[1], AXES[2]])
    evidence = one_partition(attention=torch.tensor([0.1, 0.1, 0.2, 0.1]), features=features)
    for budget in range(5):
        keep = kept("scope", evidence, [budget], exponent=exponent)[0, 0]
        assert set(keep.nonzero()[:, 0].tolist()) == set(order[:budget])


@pytest.mark.parametrize("allocation", ["equal", "globalcom2", "global"])
def test_recomputed_apart(allocation: str) -> None:
    evidence = random_evidence(SIZES, range(6))
    assert evidence.features is not None
    keep = kept("scope", evidence, [20, 9, 31, 25, 12, 40], allocation=allocation)
    shown = (evidence.attention["final"].transpose(2, 3), evidence.features)
    for tokens, picked, (attention, features) in groups(
        evidence.layout.valid, keep, allocation, *shown
    ):
        alike = {(i, j): cosine(features[i], features[j]) for i in tokens for j in tokens}
        cover, taken = dict.fromkeys(tokens, 0.0), list[int]()
        while len(taken) < len(picked):
            gain = {
                j: sum(attention[j]) * sum(max(0.0, alike[i, j] - cover[i]) for i in tokens)
                for j in tokens
                if j not in taken
            }
            taken.append(max(gain, key=lambda j: gain[j]))
            cover = {i: max(cover[i], alike[i, taken[-1]]) for i in tokens}
        assert picked == set(taken)
