"""Bicubic resizing of the grid: by hand, its properties, and torch's `interpolate` in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.halves import Halves
from tests.support.resizing import (
    SIZES,
    assert_batch_equals_one_by_one,
    assert_rows_are_torchs,
    assert_within,
    reduced,
)

NAME = "grid-downsample"
FIRST, SECOND = [16 / 32, 19 / 32, -3 / 32, 0], [0, -3 / 32, 19 / 32, 16 / 32]
"""Of the patches along one axis, 4 to 2."""


@pytest.fixture(scope="module")
def halves(small_checkpoint: object) -> Halves:
    return Halves(str(small_checkpoint))


def test_by_hand() -> None:
    """Three partitions of 4 x 4 at 12 rows: 2 x 2 each, 4 x 4 weights around each centre."""
    _, found = reduced(NAME, [(56, 112)], [12])
    assert found.count.tolist() == [12] and found.budgets.tolist() == [[4, 4, 4]]
    assert found.source[0].tolist() == [0, 2, 8, 10, 16, 18, 32, 34, 24, 26, 40, 42]
    assert found.place[0].tolist() == [0, 2, 8, 10, 16, 18, 20, 22, 32, 34, 36, 38]
    assert found.weights is not None
    expected = torch.outer(torch.tensor(FIRST), torch.tensor(SECOND)).flatten()
    torch.testing.assert_close(found.weights[0, 1, :16], expected)
    assert not found.weights[0, 1, 16:].any()
    torch.testing.assert_close(found.weights[0, 6, 32:], found.weights[0, 0, :16])


def test_padding_takes_no_part() -> None:
    """90 x 112 on a 2 x 2 grid: the first patch row of the upper sub-images is padding.

    What is left of 16 19 -3 0 is 19 -3 0 of 16.
    """
    _, found = reduced(NAME, [(90, 112)], [20])
    assert found.count.tolist() == [20] and found.weights is not None
    down = torch.tensor([0, 19 / 16, -3 / 16, 0])
    expected = torch.outer(down, torch.tensor(FIRST)).flatten()
    torch.testing.assert_close(found.weights[0, 4, 16:32], expected)


def test_rows_around_padding_alone_are_none() -> None:
    """40 x 168 on a 1 x 3 grid: of four patch rows the middle two are image; at 4 x 4 they stay."""
    _, found = reduced(NAME, [(40, 168)], [64])
    assert found.budgets.tolist() == [[16, 8, 8, 8]] and found.count.tolist() == [40]


@pytest.mark.parametrize(("budget", "rows"), [(1, 1), (3, 1), (4, 4), (5, 5), (19, 5), (20, 20)])
def test_counts_are_quantised(budget: int, rows: int) -> None:
    """Five partitions: below five tokens the full-image alone."""
    _, found = reduced(NAME, [(112, 112)], [budget])
    assert found.count.tolist() == [rows]


@given(budget=st.integers(1, 80), size=st.sampled_from(SIZES))
def test_never_more_rows_than_the_budget_never_padding(budget: int, size: tuple[int, int]) -> None:
    layout, found = reduced(NAME, [size], [budget])
    assert_within(layout, found, budget)


def test_a_batch_of_different_grids_equals_one_by_one() -> None:
    assert_batch_equals_one_by_one(NAME, [20, 5, 31, 80, 2, 12, 9])


@pytest.mark.parametrize(
    ("budget", "grids", "projected"),
    [(20, [2] * 7, True), (45, [3, 3, 3, 3, 3, 4, 4], False)],
)
@torch.inference_mode()
def test_rows_are_those_of_interpolate(
    halves: Halves, budget: int, grids: list[int], projected: bool
) -> None:
    """At 45 tokens the two images with most padding have room for 4 x 4."""
    assert_rows_are_torchs(halves, NAME, "bicubic", budget=budget, grids=grids, projected=projected)
