"""Partitions resized by torch, against Pillow, step by step and as a whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hired_core.geometry.canvas import LayoutError
from hired_core.images.fast_partition import partition_pixels
from hired_core.images.partition import partition_image
from tests.support.geometry import anyres
from tests.unit.hired_core.images.test_partition import (
    noise,
    of_transformers,
    pinpoints,
    sizes_for,
    smooth,
)

sides = st.integers(1, 200)


def difference(image: Image.Image, expected: np.ndarray, partition: int) -> np.ndarray:
    pixels = np.array(image)
    result = partition_pixels(pixels, anyres(pinpoints(partition), partition))
    assert result.dtype == np.uint8 and result.flags.c_contiguous
    assert result.shape == expected.shape
    return np.abs(result.astype(int) - expected)


@pytest.mark.parametrize(
    ("partition", "size"),
    [(112, size) for size in [*sizes_for(112), (77, 501), (999, 1001)]]
    + [(336, size) for size in [*sizes_for(336), (1008, 1344), (1345, 1009)]],
)
def test_next_to_transformers(partition: int, size: tuple[int, int]) -> None:
    image = smooth(*size)
    found = difference(image, of_transformers(image, partition), partition)
    assert found.max() <= 2
    assert found.mean() < 0.05


@pytest.mark.parametrize("size", [(1008, 1344), (1344, 1008), (672, 672), (1344, 1345)])
def test_within_one_of_transformers_where_photographs_are_shrunk(size: tuple[int, int]) -> None:
    image = noise(*size)
    assert difference(image, of_transformers(image, 336), 336).max() <= 1


@settings(max_examples=150, deadline=None)
@given(height=sides, width=sides)
def test_within_two_of_pillow_at_any_size_when_both_go_by_rows_first(
    height: int, width: int
) -> None:
    """Each pass rounds to whole numbers. Pillow from 13 on takes columns first in tall images,
    which by itself makes more of a difference, on noise."""
    image = noise(height, width)

    def rows_first(size: tuple[int, int]) -> np.ndarray:
        wide = image.resize((size[1], height), Image.Resampling.BICUBIC)
        both = wide.resize((size[1], size[0]), Image.Resampling.BICUBIC)
        return np.asarray(both).transpose(2, 0, 1)

    try:
        expected = anyres(pinpoints(28), 28).cut(rows_first, (height, width))
    except LayoutError:
        return
    assert difference(image, expected, 28).max() <= 2


def test_the_canvas_is_that_of_the_size_which_is_given() -> None:
    image = smooth(45, 61)
    grids = [(28, 112), (56, 56)]
    expected = partition_image(image, anyres(grids, 28), image_size=(90, 121))
    result = partition_pixels(np.array(image), anyres(grids, 28), image_size=(90, 121))
    assert result.shape == expected.shape == (5, 3, 28, 28)
    assert np.abs(result.astype(int) - expected).max() <= 2


def test_too_elongated() -> None:
    with pytest.raises(LayoutError):
        partition_pixels(np.array(noise(1, 2000)), anyres(pinpoints(112), 112))
