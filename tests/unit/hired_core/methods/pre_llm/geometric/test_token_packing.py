"""Bilinear resizing by powers of 1/sqrt(2): by hand, properties, torch's `interpolate`."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hired_core.methods.grid import ResizeOptions
from hired_core.methods.pre_llm.geometric.token_packing import sides
from tests.support.halves import Halves
from tests.support.resizing import (
    SIZES,
    assert_batch_equals_one_by_one,
    assert_rows_are_torchs,
    assert_within,
    reduced,
)

NAME = "token-packing"


@pytest.fixture(scope="module")
def halves(small_checkpoint: object) -> Halves:
    return Halves(str(small_checkpoint))


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (24, [1, 2, 3, 4, 6, 8, 12, 17, 24]),  # 1.06, 2.12, 4.24, 8.49, 16.97
        (12, [1, 2, 3, 4, 6, 8, 12]),  # 1.06, 1.5, 2.12, 4.24, 8.49
        (4, [1, 2, 3, 4]),  # 1.41, 2.83
        (1, [1]),
    ],
)
def test_sides_are_powers(side: int, expected: list[int]) -> None:
    assert list(sides(side, ResizeOptions())) == expected


def test_by_hand() -> None:
    """4 x 4 at 9 rows: centres at 1/6, 3/2 and 17/6 of the patches."""
    _, found = reduced(NAME, [(56, 112)], [27])
    assert found.budgets.tolist() == [[9, 9, 9]] and found.weights is not None
    first, middle = torch.tensor([5 / 6, 1 / 6, 0, 0]), torch.tensor([0, 1 / 2, 1 / 2, 0])
    for row, expected in ((0, torch.outer(first, first)), (1, torch.outer(first, middle))):
        torch.testing.assert_close(found.weights[0, row, :16], expected.flatten())
    assert found.source[0, :9].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]


def test_padding_takes_no_part() -> None:
    """90 x 112: the first patch row of the upper sub-images is padding, so row 0 is patch row 1."""
    _, found = reduced(NAME, [(90, 112)], [45])
    assert found.count.tolist() == [45] and found.weights is not None
    down, across = torch.tensor([0, 1.0, 0, 0]), torch.tensor([5 / 6, 1 / 6, 0, 0])
    torch.testing.assert_close(found.weights[0, 9, 16:32], torch.outer(down, across).flatten())


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
    assert_rows_are_torchs(
        halves, NAME, "bilinear", budget=budget, grids=grids, projected=projected
    )
