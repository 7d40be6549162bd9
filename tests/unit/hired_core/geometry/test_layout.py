"""AnyRes geometry: hand-worked layouts, and transformers' own functions as oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.image_processing_utils import (
    get_patch_output_size,
)
from transformers.image_processing_utils import (
    select_best_resolution as hf_select_best_resolution,
)
from transformers.image_utils import ChannelDimension
from transformers.models.llava_next.modeling_llava_next import unpad_image
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

from hired_core.geometry.canvas import CanvasFit, LayoutError, select_best_resolution
from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.layout_batch import LayoutBatch

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
SIZES = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


def layout_of(
    height: int, width: int, *, scale: int = 1, patch: int = 14, transposed: bool = False
) -> PartitionLayout:
    """The published pinpoints with partitions of 336 / `scale` pixels."""
    return PartitionLayout.from_image_size(
        height,
        width,
        pinpoints=[(h // scale, w // scale) for h, w in PINPOINTS],
        partition_size=336 // scale,
        patch_size=patch,
        transposed_grid=transposed,
    )


def keeps_no_pixel(size: tuple[int, int], scale: int = 1) -> bool:
    """Whether the image truncates to 0 pixels on the longest side of any grid: refused here.

    transformers takes such an image; `select_best_resolution` says so.
    """
    longest, shortest = max(size), min(size)
    return longest > 1008 // scale * shortest


def full_image_map(layout: PartitionLayout) -> list[list[int]]:
    return layout.sub_image_of.view(layout.side, layout.side).tolist()


# Hand-worked ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "grid", "rows_kept", "cols_kept"),
    [
        (336, 672, (1, 2), 24, 48),
        (672, 336, (2, 1), 48, 24),
        (672, 672, (2, 2), 48, 48),
        (1008, 336, (3, 1), 72, 24),
        (336, 1008, (1, 3), 24, 72),
        # 640 x 480 (w x h) on 672 x 672: int(480 * 48/640) = 36 rows, pad (48-36)//2 = 6.
        (480, 640, (2, 2), 36, 48),
        (640, 480, (2, 2), 48, 36),
        (1344, 1008, (2, 2), 48, 36),
        # 300 x 500 fits 336 x 672 as well as 672 x 672 and wastes less: int(500 * 24/300) = 40.
        (300, 500, (1, 2), 24, 40),
        # 100 x 900 on 336 x 1008: int(100 * 72/900) = 8 rows, pad 8.
        (100, 900, (1, 3), 8, 72),
        (900, 100, (3, 1), 72, 8),
        # 101 x 900: int(8.08) = 8 of 24 rows; 115 x 900: int(9.2) = 9, pad (24-9)//2 = 7 -> 10.
        (115, 900, (1, 3), 10, 72),
        # 200 x 460 on 336 x 672: int(200 * 48/460) = 20 rows, pad 2.
        (200, 460, (1, 2), 20, 48),
        (460, 200, (2, 1), 48, 20),
        # 10 x 3000: not one patch row survives; the full-image is all the model sees.
        (10, 3000, (1, 3), 0, 72),
    ],
)
def test_counts_worked_by_hand(
    height: int, width: int, grid: tuple[int, int], rows_kept: int, cols_kept: int
) -> None:
    layout = layout_of(height, width)
    assert layout.grid == grid
    assert layout.num_partitions == 1 + grid[0] * grid[1]
    assert layout.num_tokens == 576
    assert layout.stitched == (24 * grid[0], 24 * grid[1])
    assert layout.num_valid == 576 + rows_kept * cols_kept


def test_published_reference_counts() -> None:
    # METHODS 0.1: 2928, 2340 and 1752 with one newline per kept row of the stitched grid.
    assert layout_of(672, 672).num_valid + 48 == 2928
    assert layout_of(480, 640).num_valid + 36 == 2340
    assert layout_of(336, 672).num_valid + 24 == 1752


def test_two_by_two_without_padding_is_four_quadrants() -> None:
    top, bottom = [0] * 12 + [1] * 12, [2] * 12 + [3] * 12
    assert full_image_map(layout_of(672, 672)) == [top] * 12 + [bottom] * 12


def test_bands_without_padding_run_along_the_long_side() -> None:
    assert full_image_map(layout_of(336, 1008)) == [[0] * 8 + [1] * 8 + [2] * 8] * 24
    assert full_image_map(layout_of(1008, 336)) == [[0] * 24] * 8 + [[1] * 24] * 8 + [[2] * 24] * 8
    assert full_image_map(layout_of(336, 672)) == [[0] * 12 + [1] * 12] * 24
    assert full_image_map(layout_of(672, 336)) == [[0] * 24] * 12 + [[1] * 24] * 12


def test_symmetric_padding_leaves_the_quadrants_where_they_are() -> None:
    # Centred padding on a 2x2 grid: the image's middle is the canvas' middle.
    assert torch.equal(layout_of(480, 640).sub_image_of, layout_of(672, 672).sub_image_of)


def test_padding_moves_the_borders_of_three_bands() -> None:
    # 336 x 700 (h x w) on a single 1x3 pinpoint: content 336 x 700, left = (1008-700)//2 = 154.
    # Patch column j has its centre at 154 + 700 (2j+1)/48; the borders 336 and 672 are passed
    # where (2j+1) >= 182*48/700 = 12.48 (j = 6) and (2j+1) >= 518*48/700 = 35.52 (j = 18).
    layout = PartitionLayout.from_image_size(
        336, 700, pinpoints=[(336, 1008)], partition_size=336, patch_size=14
    )
    assert full_image_map(layout) == [[0] * 6 + [1] * 12 + [2] * 6] * 24


def test_padding_can_leave_outer_sub_images_without_any_full_image_patch() -> None:
    # A square on a 3x1 canvas covers rows 336..671 exactly: only the middle sub-image.
    layout = PartitionLayout.from_image_size(
        336, 336, pinpoints=[(1008, 336)], partition_size=336, patch_size=14
    )
    assert layout.sub_image_of.unique().tolist() == [1]
    assert layout.valid.sum(1).tolist() == [576, 0, 576, 0]


def test_valid_of_a_padded_grid_by_hand() -> None:
    # 480 x 640: stitched rows 6..41 are kept, so sub-images 0 and 1 lose their top 6 rows,
    # 2 and 3 their bottom 6 (24-row halves: 42-24 = 18 kept).
    valid = layout_of(480, 640).valid.view(5, 24, 24)
    assert valid[0].all()
    for upper in (1, 2):
        assert not valid[upper, :6].any() and valid[upper, 6:].all()
    for lower in (3, 4):
        assert valid[lower, :18].all() and not valid[lower, 18:].any()


def test_order_interleaves_sub_images_row_by_row() -> None:
    # 28-pixel partitions of 2x2 patches on a 1x2 grid: the stitched raster is
    #   4 5 | 6 7
    #   8 9 | 10 11
    layout = PartitionLayout.from_image_size(
        28, 56, pinpoints=[(28, 56)], partition_size=28, patch_size=14
    )
    assert layout.place.tolist() == [[0, 1, 2, 3], [4, 5, 8, 9], [6, 7, 10, 11]]
    tall = PartitionLayout.from_image_size(
        56, 28, pinpoints=[(56, 28)], partition_size=28, patch_size=14
    )
    assert tall.place.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_transposed_grid_gives_the_published_dense_counts() -> None:
    # METHODS 1.4, column "full emitted".
    sizes = [(672, 672), (480, 640), (1024, 768), (336, 672), (672, 336), (336, 1008)]
    counts = [layout_of(h, w, transposed=True).num_valid for h, w in sizes]
    assert counts == [2880, 2304, 2304, 864, 864, 768]
    assert layout_of(1008, 336, transposed=True).num_valid == 768
    assert layout_of(2000, 500, transposed=True).num_valid == 720


def test_transposed_grid_stitches_rows_as_columns() -> None:
    layout = PartitionLayout.from_image_size(
        28, 56, pinpoints=[(28, 56)], partition_size=28, patch_size=14, transposed_grid=True
    )
    assert layout.place.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert layout.stitched == (4, 2)


def test_too_elongated_is_an_error_that_names_the_size() -> None:
    with pytest.raises(LayoutError, match="1 x 5000"):
        layout_of(1, 5000)
    for height, width in ((0, 5), (5, 0), (-1, 5)):
        with pytest.raises(ValueError, match="positive"):
            layout_of(height, width)


# Against transformers -------------------------------------------------------------------------


@given(SIZES)
@settings(max_examples=500)
@example((336, 1009))
@example((1, 1008))
@example((672, 671))
@example((1, 1))
def test_best_resolution_and_canvas_fit_equal_transformers(size: tuple[int, int]) -> None:
    expected = hf_select_best_resolution(size, [list(p) for p in PINPOINTS])
    if keeps_no_pixel(size):
        with pytest.raises(LayoutError):
            select_best_resolution(size, PINPOINTS)
        return
    canvas = select_best_resolution(size, PINPOINTS)
    assert canvas == tuple(expected)
    fit = CanvasFit.of(size, canvas)
    image = np.broadcast_to(np.zeros(1, np.uint8), (3, *size))
    content = get_patch_output_size(image, canvas, input_data_format=ChannelDimension.FIRST)
    assert fit.content == tuple(content)
    assert fit.top == (canvas[0] - content[0]) // 2
    assert fit.left == (canvas[1] - content[1]) // 2


@given(SIZES)
@settings(max_examples=400)
@example((10, 3000))
@example((3000, 10))
@example((115, 900))
def test_valid_and_order_equal_unpad_image(size: tuple[int, int]) -> None:
    for scale in (1, 3):
        pinpoints = [[h // scale, w // scale] for h, w in PINPOINTS]
        if keeps_no_pixel(size, scale):
            continue
        best = hf_select_best_resolution(size, pinpoints)
        layout = layout_of(*size, scale=scale)
        side = 24 // scale
        rows, cols = best[0] * scale // 336, best[1] * scale // 336
        # The model's packing, on the token numbers themselves: sub-image s, patch i -> s * N + i.
        numbers = torch.arange(rows * cols * side**2).view(rows, cols, side, side)
        stitched = numbers.permute(0, 2, 1, 3).reshape(1, rows * side, cols * side)
        packed = unpad_image(stitched, size).flatten()
        valid, order = layout.valid[1:].flatten(), layout.place[1:].flatten()
        kept = valid.nonzero()[:, 0]
        assert torch.equal(kept[order[kept].argsort()], packed)


@given(SIZES)
@settings(max_examples=200)
def test_dense_count_equals_the_processors(size: tuple[int, int]) -> None:
    if keeps_no_pixel(size):
        return
    best = hf_select_best_resolution(size, [list(p) for p in PINPOINTS])
    features, _ = LlavaNextProcessor._get_unpadded_features(
        None, *size, 24, 24, best[0] // 336, best[1] // 336
    )
    assert layout_of(*size).num_valid == 576 + features


@given(SIZES)
@settings(max_examples=200)
def test_sub_image_of_agrees_with_pixel_arithmetic(size: tuple[int, int]) -> None:
    """Patch centres in float64, through the canvas that `CanvasFit` describes."""
    height, width = size
    if keeps_no_pixel(size):
        return
    canvas = select_best_resolution(size, PINPOINTS)
    fit, side = CanvasFit.of(size, canvas), 24
    layout = layout_of(height, width)
    centres = (np.arange(side) + 0.5) / side
    row = np.floor((fit.top + centres * fit.content[0]) / 336 + 1e-9).astype(int)
    col = np.floor((fit.left + centres * fit.content[1]) / 336 + 1e-9).astype(int)
    expected = row[:, None] * (canvas[1] // 336) + col[None, :]
    assert np.array_equal(layout.sub_image_of.numpy(), expected.flatten())
    assert int(layout.sub_image_of.min()) >= 0
    assert int(layout.sub_image_of.max()) < layout.num_partitions - 1


@given(SIZES, st.booleans())
@settings(max_examples=100)
def test_order_is_a_permutation_with_the_full_image_first(
    size: tuple[int, int], transposed: bool
) -> None:
    if keeps_no_pixel(size, 3):
        return
    layout = layout_of(*size, scale=3, transposed=transposed)
    assert layout.place.flatten().sort().values.tolist() == list(range(layout.place.numel()))
    assert layout.place[0].tolist() == list(range(layout.num_tokens))
    assert layout.valid[0].all()


@pytest.mark.parametrize(("height", "width"), [(100, 900), (480, 640), (336, 672), (115, 900)])
def test_turning_the_image_turns_the_layout(height: int, width: int) -> None:
    wide, tall = layout_of(height, width), layout_of(width, height)
    assert tall.grid == wide.grid[::-1]
    assert tall.num_valid == wide.num_valid
    rows, cols = wide.grid
    turned = wide.valid[1:].view(rows, cols, 24, 24).permute(1, 0, 3, 2).reshape(-1, 576)
    assert torch.equal(tall.valid[1:], turned)
    cell = torch.arange(rows * cols).view(rows, cols).T.flatten().argsort()
    assert torch.equal(tall.sub_image_of, cell[wide.sub_image_of.view(24, 24).T.flatten()])


# Batches --------------------------------------------------------------------------------------


def test_batch_pads_to_the_largest_partition_count() -> None:
    layouts = [layout_of(336, 672), layout_of(672, 672), layout_of(336, 1008)]
    batch = LayoutBatch.stack(layouts)
    assert batch.valid.shape == (3, 5, 576)
    assert batch.num_partitions.tolist() == [3, 5, 4]
    assert batch.present.tolist() == [
        [True, True, True, False, False],
        [True] * 5,
        [True, True, True, True, False],
    ]
    for row, layout in enumerate(layouts):
        count = layout.num_partitions
        assert torch.equal(batch.valid[row, :count], layout.valid)
        assert not batch.valid[row, count:].any()
        assert torch.equal(batch.place[row, :count], layout.place)
        assert batch.place[row].flatten().sort().values.tolist() == list(range(5 * 576))
        assert torch.equal(batch.sub_image_of[row], layout.sub_image_of)


def test_batch_of_nothing_or_of_unequal_token_counts_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        LayoutBatch.stack([])
    with pytest.raises(ValueError, match="same token count"):
        LayoutBatch.stack([layout_of(336, 672), layout_of(336, 672, scale=3)])
