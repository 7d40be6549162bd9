"""Native resolution: pixels and their order by transformers' processor, cells by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from hired_core import PartitionLayout
from hired_core.geometry.aspect_tiles import AspectTiles
from hired_core.geometry.canvas import LayoutError
from hired_core.geometry.cells import cell_layout
from hired_core.geometry.layout_batch import LayoutBatch
from hired_core.geometry.native import Native, uncut
from hired_core.geometry.square import Square
from hired_core.images.fast_partition import partition_pixels
from hired_core.images.partition import partition_image
from hired_core.methods.scores import visual_content_score
from tests.support.halves import picture

NATIVE = Native(patch_size=14, merge=2, min_pixels=56 * 56, max_pixels=40 * 784)


def of_transformers(image: Image.Image) -> npt.NDArray[np.float32]:
    """[T, 3, 14, 14] of transformers' own processor before it rescales and normalises."""
    processor = Qwen2VLImageProcessorPil(
        size={"shortest_edge": NATIVE.min_pixels, "longest_edge": NATIVE.max_pixels},
        do_rescale=False,
        do_normalize=False,
    )
    found = processor(image, return_tensors="np")["pixel_values"].reshape(-1, 3, 2, 14, 14)
    assert np.array_equal(found[:, :, 0], found[:, :, 1])  # A still image, twice.
    return np.asarray(found[:, :, 0])


@settings(max_examples=40, deadline=None)
@given(height=st.integers(8, 400), width=st.integers(8, 400))
def test_pixels_and_their_order_are_transformers_own(height: int, width: int) -> None:
    image = picture(height, width)
    expected = of_transformers(image)
    found = partition_image(image, NATIVE)
    assert found.dtype == np.uint8 and len(found) == NATIVE.num_pieces((height, width))
    assert np.array_equal(found, expected)
    # On noise the order of the two passes shows; see `partition_pixels`.
    fast = partition_pixels(np.array(image), NATIVE)
    assert np.abs(fast.astype(int) - expected).mean() < 0.5


def test_a_photograph_that_is_shrunk_differs_by_one_at_most() -> None:
    """By the fast path; without the noise that shows the order of its passes."""
    y, x = np.mgrid[0:600, 0:800]
    waves = np.stack([np.sin(x / (31 + i) + y / 23) for i in range(3)], -1)
    image = Image.fromarray((waves * 100 + 128).astype(np.uint8))
    fast = partition_pixels(np.array(image), NATIVE).astype(int)
    assert np.abs(fast - of_transformers(image)).max() <= 1


def test_the_image_comes_back() -> None:
    image = picture(150, 210)
    pieces, size = partition_image(image, NATIVE), NATIVE.needed_size((150, 210))
    resized = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    assert np.array_equal(uncut(pieces, NATIVE.token_grid((150, 210))), resized.transpose(2, 0, 1))


def test_the_longest_images_are_refused() -> None:
    assert NATIVE.token_grid((30, 5900)) == (1, 88)  # More than the most: a token high at least.
    for size in ((1, 201), (20_100, 100)):
        with pytest.raises(LayoutError, match="over 200 times as long as it is wide"):
            NATIVE.check(size)


@settings(max_examples=300)
@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    least=st.sampled_from([1, 4, 15]),
    most=st.sampled_from([15, 40, 1280, 16384]),
)
def test_no_image_is_more_than_the_most(height: int, width: int, least: int, most: int) -> None:
    native = Native(patch_size=14, merge=2, min_pixels=least * 784, max_pixels=most * 784)
    if max(height, width) > 200 * min(height, width):
        return
    rows, cols = native.token_grid((height, width))
    assert rows * cols <= native.nominal_tokens and max(rows, cols) <= native.max_side
    assert 1 + -(-rows // 12) * -(-cols // 12) <= native.max_partitions


def test_cells_by_hand() -> None:
    """13 x 5 tokens: cells of 6 and 7 rows, in the upper left corner of 12 x 12 places."""
    layout = cell_layout((13, 5), 12)
    assert (layout.grid, layout.stitched, layout.side) == ((2, 1), (13, 5), 12)
    assert layout.valid.sum(-1).tolist() == [0, 30, 35]
    assert layout.num_nominal == layout.num_valid == 65
    place, valid = layout.place.view(3, 12, 12), layout.valid.view(3, 12, 12)
    assert valid[1, :6, :5].all() and valid[2, :7, :5].all()
    assert place[1, :6, :5].tolist() == torch.arange(30).view(6, 5).tolist()
    assert place[2, :7, :5].tolist() == (30 + torch.arange(35).view(7, 5)).tolist()
    assert layout.place.flatten().sort().values.tolist() == list(range(3 * 144))
    assert layout.centre[2, 12 + 3].tolist() == pytest.approx([7.5 / 13, 3.5 / 5])


def _layouts() -> list[PartitionLayout]:
    return [cell_layout((13, 5), 12), cell_layout((2, 30), 12), cell_layout((1, 1), 12)]


def test_scores_of_cells_are_shares_of_their_own_tokens() -> None:
    """In a batch as alone; what is in padding does not count, however much it is."""
    layouts = _layouts()
    batch = LayoutBatch.stack(layouts)
    most, seen = batch.valid.shape[1] * 144, torch.Generator().manual_seed(1)
    attention = torch.rand(3, 2, most, generator=seen)
    together = visual_content_score(attention, batch)
    for row, layout in enumerate(layouts):
        count = layout.valid.numel()
        tokens = attention[row, :, :count].sum(0).double().view(layout.valid.shape)
        mass = tokens.where(layout.valid, 0).sum(-1)[1:]
        found = together[row]
        assert found[: len(mass)].tolist() == pytest.approx((mass / mass.sum()).tolist(), abs=1e-9)
        assert not found[len(mass) :].any()
        alone = visual_content_score(attention[row, :, :count], layout)
        assert torch.equal(alone, found[: len(mass)])


def test_what_a_dry_run_says_of_visual_tokens() -> None:
    """How many patches one is, where it is not one."""
    seen = "a visual token is 28 x 28 pixels, 2 x 2 patches, images are seen at 3,136 to 31,360"
    assert NATIVE.summary == seen
    tiles = AspectTiles(partition_size=56, patch_size=14, merge=2)
    assert tiles.summary == "16 patches per partition, 2 x 2 of them a visual token"
    assert Square(partition_size=336, patch_size=14).summary == "576 patches per partition"
