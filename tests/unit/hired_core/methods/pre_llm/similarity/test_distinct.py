"""Importance times distinctiveness: what is taken scales down the scores of what is like it."""

from __future__ import annotations

import math

import pytest
import torch

from hired_core.errors import SettingError
from hired_core.vlm.settings import ReductionSettings
from tests.support.evidence import SIZES, cosine, groups, kept, one_partition, random_evidence

AXES = torch.eye(2)
LEAST = 2.0**-20


def test_by_hand() -> None:
    """Two pairs of equals: 4 first, its equal falls to 3 / 2**20, and 2 stands; then 1 falls so.

    Of what is left the more important comes first, where ID-Selection's order is that of penalties.
    """
    features = torch.stack([AXES[0], AXES[0], AXES[1], AXES[1]])
    evidence = one_partition(attention=torch.tensor([4.0, 3, 2, 1]), features=features)
    found = []
    for budget in range(5):
        keep = kept("distinct", evidence, [budget], allocation="equal")[0, 0]
        found.append(set(keep.nonzero()[:, 0].tolist()))
    assert found == [set(), {0}, {0, 2}, {0, 1, 2}, {0, 1, 2, 3}]


def test_all_the_same_are_taken_by_importance_and_then_by_index() -> None:
    """Thousands of equal tokens lower each other's scores and never to nothing."""
    attention = torch.ones(2500)
    attention[[7, 2400]] = 2.0
    evidence = one_partition(attention=attention, features=torch.ones(2500, 3))
    keep = kept("distinct", evidence, [400], allocation="equal")[0, 0]
    assert set(keep.nonzero()[:, 0].tolist()) == {7, 2400, *range(399)}


@pytest.mark.parametrize("worst", [0.0, math.nan])
def test_what_has_no_importance_comes_last(worst: float) -> None:
    attention = torch.tensor([worst, 1e-9, 0.5, worst])
    evidence = one_partition(attention=attention, features=torch.ones(4, 2))
    for budget, expected in ((1, {2}), (2, {1, 2}), (3, {0, 1, 2})):
        keep = kept("distinct", evidence, [budget], allocation="equal")[0, 0]
        assert set(keep.nonzero()[:, 0].tolist()) == expected


@pytest.mark.parametrize("sharpness", [10.0, 2.0])
@pytest.mark.parametrize("allocation", ["globalcom2", "equal", "global"])
def test_recomputed_apart(allocation: str, sharpness: float) -> None:
    """Products of factors, in plain Python, where the method adds logarithms."""
    evidence = random_evidence(SIZES, range(6))
    assert evidence.features is not None
    options = {"allocation": allocation, "sharpness": sharpness}
    keep = kept("distinct", evidence, [20, 9, 31, 25, 12, 40], **options)
    shown = (evidence.attention["final"].transpose(2, 3), evidence.features)
    for tokens, picked, (attention, features) in groups(
        evidence.layout.valid, keep, allocation, *shown
    ):
        score = {i: sum(attention[i]) for i in tokens}
        taken: list[int] = []
        while len(taken) < len(picked):
            best = max((i for i in tokens if i not in taken), key=lambda i: score[i])
            for j in tokens:
                near = math.exp(-sharpness * (1 - cosine(features[best], features[j])) ** 2)
                score[j] *= max(1 - near, LEAST)
            taken.append(best)
        assert picked == set(taken)


def test_kept_tokens_stand_where_they_stood() -> None:
    assert ReductionSettings(method="distinct").newline_policy == "kept-rows"
    assert ReductionSettings(method="distinct", newline="none").newline_policy == "none"
    assert ReductionSettings(method="distinct", budget=1).newline_policy == "all"
    assert ReductionSettings(method="hired").newline_policy == "none"
    assert ReductionSettings(method="distinct").effective_positions == "original"
    assert ReductionSettings(method="distinct", budget=1).effective_positions == "compact"
    closed = ReductionSettings(method="distinct", positions="compact")
    assert closed.effective_positions == "compact"
    assert ReductionSettings(method="hired").effective_positions == "compact"


def test_options() -> None:
    with pytest.raises(SettingError, match=r"sharpness: 0\.0 is out of range; allowed: above 0"):
        ReductionSettings(method="distinct", method_options={"sharpness": 0})
    with pytest.raises(SettingError, match="sharp: no option of method distinct; it has"):
        ReductionSettings(method="distinct", method_options={"sharp": 5})
