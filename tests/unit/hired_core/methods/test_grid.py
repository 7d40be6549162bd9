"""Resizing along one axis against torch's own, and what is done about padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from hired_core.methods.grid import Along, box, centres, cubic, linear, renormalised


@pytest.mark.parametrize(("along", "mode"), [(linear, "bilinear"), (cubic, "bicubic")])
@given(side=st.integers(1, 27), data=st.data())
def test_weights_are_those_of_interpolate(
    along: Along, mode: str, side: int, data: st.DataObject
) -> None:
    grid = data.draw(st.integers(1, side))
    weights, cells = along(torch.tensor([grid, side]), side)
    values = torch.randn(
        1, 2, side, side, generator=torch.Generator().manual_seed(side), dtype=torch.float64
    )
    expected = interpolate(values, (grid, grid), mode=mode)
    torch.testing.assert_close(weights[0, :grid] @ values @ weights[0, :grid].T, expected)
    assert not weights[0, grid:].any() and not cells[0, grid:].any()
    # At the size there is each patch is itself; a cell is one patch or two.
    assert torch.equal(weights[1], torch.eye(side, dtype=torch.float64))
    assert torch.equal(cells[1], torch.eye(side, dtype=torch.bool))
    assert set(cells[0, :grid].sum(-1).tolist()) <= {1, 2}


@given(side=st.integers(1, 9), data=st.data())
def test_boxes_are_those_of_adaptive_pooling(side: int, data: st.DataObject) -> None:
    grid = data.draw(st.integers(1, side))
    values = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(side)).double()
    weights, cells = box(torch.tensor([grid]), side)
    means = renormalised(weights[0, :grid])
    torch.testing.assert_close(means @ values @ means.T, adaptive_avg_pool2d(values, grid))
    assert not cells[0, grid:].any() and cells[0].any(0).all()


def test_cubic_weights_by_hand() -> None:
    """4 to 2: the first centre is half way between patches 0 and 1; patch -1 is patch 0 again.

    The kernel at 1/2 is 19/32, at 3/2 it is -3/32.
    """
    weights, cells = cubic(torch.tensor([2]), 4)
    expected = [[16 / 32, 19 / 32, -3 / 32, 0], [0, -3 / 32, 19 / 32, 16 / 32]]
    assert weights[0, :2].tolist() == expected
    assert cells[0, :2].tolist() == [[True, True, False, False], [False, False, True, True]]


def test_valid_weights_sum_to_one_and_never_blow_up() -> None:
    weights = torch.tensor([[0.5, 0.25, 0.0], [0.75, -0.25, 0.0], [0.5, -0.49, 0.0], [0.0] * 3])
    found = renormalised(weights)
    torch.testing.assert_close(found[0], torch.tensor([2 / 3, 1 / 3, 0.0]))
    torch.testing.assert_close(found[1], torch.tensor([1.5, -0.5, 0.0]))
    # 0.01 of 0.99 is next to nothing: 50 times one token less 49 times another is neither.
    assert found[2].tolist() == [1.0, 0.0, 0.0]
    assert found[3].tolist() == [0.0] * 3


@given(side=st.integers(1, 30), data=st.data())
def test_centres_are_as_many_as_the_side(side: int, data: st.DataObject) -> None:
    grid = data.draw(st.integers(0, side))
    found = centres(torch.tensor([[grid, side]]), side)
    assert found.shape == (1, 2, side)
    expected = [int((row + 0.5) * side / grid + 1e-9) for row in range(grid)]
    assert found[0, 0].nonzero()[:, 0].tolist() == expected
    assert found[0, 1].all()
