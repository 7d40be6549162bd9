"""Rows that are sums of tokens of one partition."""

from __future__ import annotations

import math

import torch

from hired_core.methods.merging import means, merged
from tests.support.evidence import random_evidence


def test_means_by_hand() -> None:
    members = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    assert means(members).tolist() == [[0.5, 0.5, 0], [0, 0, 1], [0, 0, 0]]
    weighed = means(members, torch.tensor([1.0, 3.0, 8.0]))
    assert weighed.tolist() == [[0.25, 0.75, 0], [0, 0, 1], [0, 0, 0]]
    assert torch.equal(means(members, torch.zeros(3)), means(members))
    # What is no member may be no number.
    found = means(members, torch.tensor([1.0, 3.0, math.nan]))
    assert found[0].tolist() == [0.25, 0.75, 0]


def test_rows_stand_where_tokens_are_kept_and_stay_in_their_partition() -> None:
    """Partitions are stitched: the second and the third take turns, row by row."""
    evidence = random_evidence([(56, 112)], [0], [5])
    keep = torch.zeros(1, 3, 16, dtype=torch.bool)
    keep[0, 0, 7] = keep[0, 1, 5] = keep[0, 2, 1] = True
    weights = torch.zeros(1, 3, 16, 16)
    weights[0, 0, 7, 2], weights[0, 1, 5, 5], weights[0, 2, 1, 3] = 0.1, 0.2, 0.3
    found = merged(evidence, keep, weights)
    # Places: 7 of the full-image; row 0, column 4 + 1 of 8; row 1, column 1.
    assert found.count.tolist() == [3] and found.budgets.tolist() == [[1, 1, 1]]
    assert found.place[0, :3].tolist() == [7, 16 + 5, 16 + 8 + 1]
    assert found.source[0, :3].tolist() == [7, 32 + 1, 16 + 5]
    assert found.weights is not None and found.weights.shape == (1, 5, 48)
    assert found.weights[0, :3].nonzero().tolist() == [[0, 2], [1, 32 + 3], [2, 16 + 5]]
    torch.testing.assert_close(found.weights[0, :3].sum(-1), torch.tensor([0.1, 0.3, 0.2]))
