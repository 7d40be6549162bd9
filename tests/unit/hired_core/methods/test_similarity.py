"""Cosines, and what is told by them."""

from __future__ import annotations

import math

import pytest
import torch

from hired_core.methods.similarity import (
    best,
    cosines,
    exact_rows,
    farthest_first,
    masked_mean,
    stretched,
)
from tests.support.evidence import cosine


def test_cosines_by_hand() -> None:
    found = cosines(torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0], [-6.0, -8.0]]))
    expected = torch.tensor(
        [[1, 0.96, 0, -1], [0.96, 1, 0, -0.96], [0, 0, 0, 0], [-1, -0.96, 0, 1]]
    )
    torch.testing.assert_close(found, expected, atol=2**-17, rtol=0)


def test_cosines_are_rounded_so_that_equals_tie() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 50, 33, generator=generator)
    features[:, 25:] = features[:, :25]
    found = cosines(features)
    assert torch.equal(found * 2**16, (found * 2**16).round())
    assert torch.equal(found[:, :25], found[:, 25:])
    exact = [[cosine(a, b) for b in features[0].tolist()] for a in features[0].tolist()]
    torch.testing.assert_close(found[0], torch.tensor(exact), atol=2**-16, rtol=0)


def test_centred_cosines_are_of_differences_to_the_mean_of_valid_tokens() -> None:
    features = torch.tensor([[1.0, 0], [3, 0], [2, 3], [math.nan, 7]])
    valid = torch.tensor([True, True, True, False])
    found = cosines(features, valid, centred=True)[:3, :3]  # (-1, -1), (1, -1), (0, 2)
    half = math.sqrt(0.5)
    expected = torch.tensor([[1, 0, -half], [0, 1, -half], [-half, -half, 1]])
    torch.testing.assert_close(found, expected, atol=2**-16, rtol=0)


def test_a_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, 6.0], [math.inf, math.nan]])
    assert masked_mean(values, torch.tensor([True, True, False])).tolist() == [2, 4]
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)).tolist() == [0, 0]


def test_stretched_by_hand() -> None:
    valid = torch.tensor([True, True, True, False])
    assert stretched(torch.tensor([2.0, 4, 3, 99]), valid).tolist() == [0, 1, 0.5, 0]
    assert stretched(torch.tensor([2.0, 2, 2, 99]), valid).tolist() == [0, 0, 0, 0]


def test_the_best_is_open_and_the_first_of_equals() -> None:
    scores = torch.tensor([5.0, math.nan, 1, 3, 3, -math.inf])
    every = torch.ones(6, dtype=torch.bool)
    assert int(best(scores, every)) == 0
    closed = torch.tensor([False, True, True, True, True, True])
    assert int(best(scores, closed)) == 3
    # What is no number comes before what is not open, and after all that is one.
    assert int(best(scores, torch.tensor([False, True, False, False, False, True]))) == 1
    assert int(best(scores, torch.tensor([False, True, True, False, False, False]))) == 2


@pytest.mark.parametrize("size", [5, 256, 2880])
def test_rows_add_up_exactly_in_any_order(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    values = torch.randint(0, 2**16 + 1, (4, size), generator=generator)
    found = exact_rows(values.float() / 2**16)
    assert (found * 2**16).tolist() == values.sum(-1).tolist()


def test_a_weight_comes_before_distance() -> None:
    """Alike as 0 1 0 / 1 0 0 / 0 0 0: the heaviest, then the product of weight and distance."""
    alike = torch.tensor([[1.0, 0.5, 0], [0.5, 1, 0], [0, 0, 1]])
    weight, valid = torch.tensor([1.0, 0.9, 0.4]), torch.ones(3, dtype=torch.bool)
    for budget, expected in ((1, [0]), (2, [0, 1]), (3, [0, 1, 2])):  # .9 * .5 against .4 * 1
        keep = farthest_first(alike, valid, torch.tensor(budget), budget, weight)
        assert keep.nonzero()[:, 0].tolist() == expected
    lighter = torch.tensor([1.0, 0.7, 0.4])
    keep = farthest_first(alike, valid, torch.tensor(2), 2, lighter)
    assert keep.nonzero()[:, 0].tolist() == [0, 2]
