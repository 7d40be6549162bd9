"""ID-Selection: what is taken lowers the scores of what is like it."""

from __future__ import annotations

import math

import pytest
import torch

from tests.support.evidence import SIZES, cosine, groups, kept, one_partition, random_evidence

AXES = torch.eye(2)


def test_by_hand() -> None:
    """Two pairs of equals, s = e**-20 of one pair being lost to the other.

    4 first; then 3 - 4, 2 - 4 s and 1 - 4 s are left; then -1 - (2 - 4 s) s and -1.
    """
    features = torch.stack([AXES[0], AXES[0], AXES[1], AXES[1]])
    evidence = one_partition(attention=torch.tensor([4.0, 3, 2, 1]), features=features)
    for budget, expected in enumerate([set(), {0}, {0, 2}, {0, 2, 3}, {0, 1, 2, 3}]):
        keep = kept("id-selection", evidence, [budget])[0, 0]
        assert set(keep.nonzero()[:, 0].tolist()) == expected
    # Hardly any distance matters: 3 - 4 s, 2 - 4 s and 1 - 4 s for s near 1 keep their order.
    blunt = kept("id-selection", evidence, [2], sharpness=1e-6)[0, 0]
    assert set(blunt.nonzero()[:, 0].tolist()) == {0, 1}


@pytest.mark.parametrize("sharpness", [20.0, 2.0])
@pytest.mark.parametrize("allocation", ["equal", "globalcom2", "global"])
def test_recomputed_apart(allocation: str, sharpness: float) -> None:
    evidence = random_evidence(SIZES, range(6))
    assert evidence.features is not None
    options = {"allocation": allocation, "sharpness": sharpness}
    keep = kept("id-selection", evidence, [20, 9, 31, 25, 12, 40], **options)
    shown = (evidence.attention["final"].transpose(2, 3), evidence.features)
    for tokens, picked, (attention, features) in groups(
        evidence.layout.valid, keep, allocation, *shown
    ):
        score = {i: sum(attention[i]) for i in tokens}
        taken: list[int] = []
        while len(taken) < len(picked):
            best = max((i for i in tokens if i not in taken), key=lambda i: score[i])
            own = score[best]
            for j in tokens:
                distance = 1 - cosine(features[best], features[j])
                score[j] -= math.exp(-sharpness * distance**2) * own
            taken.append(best)
        assert picked == set(taken)
