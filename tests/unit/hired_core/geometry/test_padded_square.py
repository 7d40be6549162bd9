"""Images in the middle of a padded square: the cut against transformers, tokens by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

import hired_core.geometry.square as square
from hired_core.geometry.base import from_json, to_json
from hired_core.geometry.canvas import LayoutError
from hired_core.geometry.square import Square
from hired_core.images.fast_partition import partition_pixels
from hired_core.images.partition import partition_image
from tests.support.family_checks import gradient
from tests.support.halves import picture

PADDED = Square(partition_size=56, patch_size=14, pad=(122, 116, 104))
SIDES = st.integers(4, 400)


def of_transformers(image: Image.Image) -> npt.NDArray[np.float64]:
    """[1, 3, 56, 56] of transformers' own processor before it rescales and normalises."""
    processor = LlavaImageProcessorPil(
        size={"shortest_edge": 56},
        crop_size={"height": 56, "width": 56},
        do_pad=True,
        do_rescale=False,
        do_normalize=False,
    )
    return np.asarray(processor(image, return_tensors="np")["pixel_values"])


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES)
def test_the_cut_is_transformers_own(height: int, width: int) -> None:
    """To the bit by Pillow; by torch, to the bit what torch makes of the whole square at once."""
    image = picture(height, width)
    assert np.array_equal(partition_image(image, PADDED), of_transformers(image))
    pixels, longest = np.array(image), max(height, width)
    whole = np.full((longest, longest, 3), PADDED.pad, np.uint8)
    top, left = (longest - height) // 2, (longest - width) // 2
    whole[top : top + height, left : left + width] = pixels
    planes = torch.from_numpy(whole).permute(2, 0, 1)[None]
    expected = interpolate(planes, size=(56, 56), mode="bicubic", antialias=True)
    assert np.array_equal(partition_pixels(pixels, PADDED), expected.numpy())


@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES)
def test_by_torch_it_is_close_to_that_by_pillow(height: int, width: int) -> None:
    """A value or two at the edge of the padding are 2 off, all others 1 where it is shrunk."""
    image = gradient(height, width)
    found = partition_pixels(np.array(image), PADDED).astype(int)
    difference = np.abs(found - of_transformers(image))
    assert difference.max() <= 2
    assert max(height, width) < 56 or (difference > 1).sum() <= 2


@pytest.mark.parametrize("size", [(900, 31), (400, 399)])
def test_bands_of_rows_make_no_difference(size: tuple[int, int]) -> None:
    image = picture(*size)
    whole = partition_image(image, PADDED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(square, "_BAND_PIXELS", 7 * max(size))
        assert np.array_equal(partition_image(image, PADDED), whole)
        patch.setattr(square, "_BAND_PIXELS", 1)
        assert np.array_equal(partition_pixels(np.array(image), PADDED), _by_torch(image))


def _by_torch(image: Image.Image) -> npt.NDArray[np.uint8]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(square, "_BAND_PIXELS", 2**22)
        return partition_pixels(np.array(image), PADDED)


def test_an_image_that_was_decoded_reduced_lies_where_the_whole_one_does() -> None:
    image = picture(800, 400)
    small = image.resize((200, 400), Image.Resampling.BOX)
    found = partition_image(small, PADDED, image_size=(800, 400)).astype(int)
    whole = partition_image(image, PADDED).astype(int)
    assert np.array_equal(found[0, :, :, :12], whole[0, :, :, :12])  # Padding.
    assert np.abs(found - whole).mean() < 4
    assert PADDED.needed_size((800, 400)) == (56, 28) and PADDED.needed_size((3, 300)) == (1, 56)


def test_elongated_images_are_refused_as_cropped_ones_are() -> None:
    with pytest.raises(LayoutError, match="over 100 times"):
        PADDED.layout(1, 101)


def test_tokens_by_hand() -> None:
    """Of 4 x 4: a wide image has the middle two rows, a square one all."""
    layout = PADDED.layout(100, 200)
    assert layout.valid[0].view(4, 4).tolist() == [[False] * 4, [True] * 4, [True] * 4, [False] * 4]
    assert layout.centre[0, ::4, 0].tolist() == [-0.25, 0.25, 0.75, 1.25]
    assert layout.centre[0, :4, 1].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert (layout.num_valid, layout.num_dense, layout.num_nominal) == (8, 16, 16)
    assert layout.dense().valid.all() and layout.dense().num_dense == 16
    whole = PADDED.layout(70, 70)
    assert whole.valid.all() and whole.dense() is whole and (whole.num_dense == 16)
    # One pixel more than half: the row above and the row below show some of it.
    assert PADDED.layout(102, 200).num_valid == 16


@given(height=SIDES, width=SIDES)
def test_tokens_show_something_of_the_image(height: int, width: int) -> None:
    """A token's pixels in the resized square, and the image's, as fractions."""
    layout, longest = PADDED.layout(height, width), max(height, width)
    token = Fraction(longest * 14, 56)
    for axis, length in enumerate((height, width)):
        start = (longest - length) // 2
        shown = [max(start, i * token) < min(start + length, (i + 1) * token) for i in range(4)]
        found = layout.valid[0].view(4, 4).any(1 - axis)
        assert found.tolist() == shown
        middle = [float(((i + Fraction(1, 2)) * token - start) / length) for i in range(4)]
        along = layout.centre[0].view(4, 4, 2)[..., axis]
        along = along[:, 0] if axis == 0 else along[0]
        assert torch.allclose(along, torch.tensor(middle))


def test_it_travels_as_json() -> None:
    assert from_json(to_json(PADDED)) == PADDED
