"""Newline policies, worked by hand on a 1 x 2 grid of 2 x 2-patch partitions.

Positions: full-image 0..3, then the stitched raster `4 5 | 6 7` and `8 9 | 10 11`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hired_core import PartitionLayout
from hired_core.geometry.sequence import NEWLINE, NewlinePolicy, dense_positions, visual_sequence
from hired_core.geometry.spec import ModelSpec
from tests.support.geometry import anyres
from tests.support.models import load_spec

WIDE = PartitionLayout.from_image_size(
    28, 56, pinpoints=[(28, 56)], partition_size=28, patch_size=14
)


def sequence(order: list[int], policy: NewlinePolicy) -> list[int]:
    return visual_sequence(torch.tensor(order, dtype=torch.int64), WIDE, policy).tolist()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("none", [0, 1, 2, 3]),
        # One token of the full-image, none of row 0, three of row 1.
        ("kept-rows", [0, 1, 2, 3, NEWLINE]),
        ("all", [0, NEWLINE, 1, 2, 3, NEWLINE]),
    ],
)
def test_policies_by_hand(policy: NewlinePolicy, expected: list[int]) -> None:
    assert sequence([2, 8, 10, 11], policy) == expected


def test_a_newline_ends_each_row_and_none_the_full_image() -> None:
    dense = list(range(12))
    assert sequence(dense, "all") == [*range(8), NEWLINE, *range(8, 12), NEWLINE]
    assert sequence(dense, "kept-rows") == sequence(dense, "all")
    assert sequence(dense, "none") == dense
    assert sequence([5, 6, 9], "kept-rows") == [0, 1, NEWLINE, 2, NEWLINE]


def test_only_full_image_tokens_or_none_at_all() -> None:
    assert sequence([0, 3], "kept-rows") == [0, 1]
    assert sequence([0, 3], "all") == [0, 1, NEWLINE, NEWLINE]
    assert sequence([], "kept-rows") == []
    assert sequence([], "all") == [NEWLINE, NEWLINE]


def test_rows_in_padding_have_no_newline() -> None:
    # 480 x 640 on 2x2: 36 of 48 rows are kept, from row 6 on.
    layout = PartitionLayout.from_image_size(
        480, 640, pinpoints=[(672, 672)], partition_size=336, patch_size=14
    )
    row_20 = 576 + 20 * 48
    order = torch.tensor([7, row_20, row_20 + 47])
    result = visual_sequence(order, layout, "all").tolist()
    assert len(result) == 3 + 36
    # Rows 6..19 come first: 14 newlines.
    assert result[:17] == [0] + [NEWLINE] * 14 + [1, 2]
    assert visual_sequence(order, layout, "kept-rows").tolist() == [0, 1, 2, NEWLINE]


def test_dense_length_is_the_published_one() -> None:
    pinpoints = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)]
    for size, expected in {(672, 672): 2928, (480, 640): 2340, (336, 672): 1752}.items():
        layout = PartitionLayout.from_image_size(
            *size, pinpoints=pinpoints, partition_size=336, patch_size=14
        )
        order = layout.place[layout.valid].sort().values
        assert visual_sequence(order, layout, "all").shape == (expected,)


def test_a_transposed_grid_ends_its_own_rows() -> None:
    layout = PartitionLayout.from_image_size(
        28, 56, pinpoints=[(28, 56)], partition_size=28, patch_size=14, transposed_grid=True
    )
    # Stitched 4 x 2, unpadded with the wide image's aspect: int(28 * 2/56) = 1 of 4 rows, pad 1,
    # rows 1 and 2 stay: positions 6..9.
    order = layout.place[layout.valid].sort().values
    assert order.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]
    result = visual_sequence(order, layout, "all").tolist()
    assert result == [0, 1, 2, 3, 4, 5, NEWLINE, 6, 7, NEWLINE]
    two_rows = visual_sequence(torch.tensor([4, 5, 6, 7]), layout, "kept-rows").tolist()
    assert two_rows == [0, 1, NEWLINE, 2, 3, NEWLINE]


WIDE_ONLY = dataclasses.replace(
    load_spec("embedded"), geometry=anyres(((168, 336), (168, 504)), 168)
)


@given(
    height=st.integers(20, 800),
    width=st.integers(20, 800),
    num_kept=st.integers(0, 720),
    policy=st.sampled_from(["none", "kept-rows", "all"]),
    transposed=st.booleans(),
    spec=st.sampled_from([load_spec("embedded"), WIDE_ONLY]),
)
def test_no_sequence_is_longer_than_its_slot(
    height: int, width: int, num_kept: int, policy: Any, transposed: bool, spec: ModelSpec
) -> None:
    """Kept tokens spread over all rows, so that as many newlines as can be are among them."""
    layout = spec.layout(height, width, transposed_grid=transposed)
    every = layout.place[layout.valid].sort().values
    chosen = torch.linspace(0, len(every) - 1, min(num_kept, len(every))).long().unique()
    order = every[chosen]
    bound = spec.max_visual_positions(len(order), policy, transposed_grid=transposed)
    sequence = visual_sequence(order, layout, policy)
    assert len(order) <= sequence.shape[0] <= bound
    longest = spec.max_visual_positions(spec.nominal_tokens, "all", transposed_grid=transposed)
    assert int(dense_positions(order, layout, policy)[-1]) <= longest


def test_the_bound_is_reached() -> None:
    """By a whole image of the tallest grid."""
    spec = load_spec("embedded")
    layout = spec.layout(504, 168)
    order = layout.place[layout.valid].sort().values
    longest = spec.max_visual_positions(len(order), "all")
    assert visual_sequence(order, layout, "all").shape[0] == longest == len(order) + 36


def test_a_transposed_grid_may_have_more_rows_than_any_grid() -> None:
    """A tall image on 1 x 2, stitched as 2 x 1: 24 rows, where no grid has more than twelve."""
    layout = WIDE_ONLY.layout(300, 100, transposed_grid=True)
    order = layout.place[layout.valid].sort().values
    assert visual_sequence(order, layout, "all").shape[0] == len(order) + 24
    assert WIDE_ONLY.max_visual_positions(0, "all") == 12
    assert WIDE_ONLY.max_visual_positions(0, "all", transposed_grid=True) == 36
