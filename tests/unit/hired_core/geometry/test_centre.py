"""Where the centre of every patch lies in the image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.layout_batch import LayoutBatch
from tests.support.evidence import layout_of


def test_by_hand() -> None:
    """40 x 168 pixels on a canvas of 56 x 168: 8 rows of padding above and below."""
    layout = layout_of((40, 168))
    assert layout.grid == (1, 3)
    full = layout.centre[0].view(4, 4, 2)
    assert full[0, 0].tolist() == [1 / 8, 1 / 8] and full[1, 3].tolist() == [3 / 8, 7 / 8]
    third = layout.centre[3].view(4, 4, 2)
    rows = [(7 - 8) / 40, (21 - 8) / 40, (35 - 8) / 40, (49 - 8) / 40]
    torch.testing.assert_close(third[:, 0, 0], torch.tensor(rows))
    cols = [(112 + 7) / 168, (112 + 21) / 168, (112 + 35) / 168, (112 + 49) / 168]
    torch.testing.assert_close(third[0, :, 1], torch.tensor(cols))


@settings(max_examples=60, deadline=None)
@given(st.integers(20, 400), st.integers(20, 400))
def test_recomputed_apart(height: int, width: int) -> None:
    layout = layout_of((height, width))
    canvas = [56 * count for count in layout.grid]
    scale = min(canvas[0] / height, canvas[1] / width)
    sides = zip((height, width), canvas, strict=True)
    inner = [min(math.ceil(side * scale), most) for side, most in sides]
    if canvas[1] / width < canvas[0] / height:
        inner[1] = canvas[1]
    else:
        inner[0] = canvas[0]
    before = [(most - side) // 2 for most, side in zip(canvas, inner, strict=True)]
    for p in range(1, layout.num_partitions):
        cell = divmod(p - 1, layout.grid[1])
        for patch in range(16):
            at = [56 * c + 14 * i + 7 for c, i in zip(cell, divmod(patch, 4), strict=True)]
            expected = [(a - b) / i for a, b, i in zip(at, before, inner, strict=True)]
            assert layout.centre[p, patch].tolist() == pytest.approx(expected, abs=1e-5)


def test_what_is_far_outside_is_padding() -> None:
    """Unpadding goes by its own rounding: half a patch at most."""
    for size in ((40, 168), (90, 112), (70, 50), (112, 112)):
        layout = layout_of(size)
        outside = (layout.centre - 0.5).abs().amax(-1) > 0.5
        assert not (outside & layout.valid).any()


def test_one_partition_and_batches() -> None:
    single = PartitionLayout.single(2)
    assert single.centre.tolist() == [[[0.25, 0.25], [0.25, 0.75], [0.75, 0.25], [0.75, 0.75]]]
    batch = LayoutBatch.stack([layout_of((56, 112)), layout_of((112, 112))])
    assert batch.centre.shape == (2, 5, 16, 2) and not batch.centre[0, 3:].any()
    assert torch.equal(batch.centre[0, :3], layout_of((56, 112)).centre)
