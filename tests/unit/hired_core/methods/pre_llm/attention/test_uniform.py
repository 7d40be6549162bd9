"""Top CLS attention: FasterVLM partition by partition, or over the whole image."""

from __future__ import annotations

import pytest
import torch

from tests.support.evidence import SIZES, groups, kept, one_partition, random_evidence


@pytest.mark.parametrize(
    ("budget", "expected"), [(0, set()), (1, {1}), (2, {1, 3}), (4, {*range(4)})]
)
def test_by_hand(budget: int, expected: set[int]) -> None:
    evidence = one_partition(attention=torch.tensor([0.1, 0.4, 0.2, 0.4]))
    keep = kept("uniform", evidence, [budget])[0, 0]
    assert set(keep.nonzero()[:, 0].tolist()) == expected


@pytest.mark.parametrize("allocation", ["equal", "content", "global"])
def test_recomputed_apart(allocation: str) -> None:
    evidence = random_evidence(SIZES, range(6))
    keep = kept("uniform", evidence, [20, 9, 31, 25, 12, 40], allocation=allocation)
    shown = evidence.attention["final"].transpose(2, 3)
    for tokens, picked, attention in groups(evidence.layout.valid, keep, allocation, shown):
        best = sorted(tokens, key=lambda i: -sum(attention[i]))
        assert picked == set(best[: len(picked)])


def test_over_the_whole_image_a_partition_may_take_all() -> None:
    evidence = random_evidence([(112, 112)], [1])
    evidence.attention["final"][0, 3] += 1
    assert kept("uniform", evidence, [10], allocation="global")[0].sum(-1).tolist() == [
        0,
        0,
        0,
        10,
        0,
    ]
    assert kept("uniform", evidence, [10])[0].sum(-1).tolist() == [2] * 5
