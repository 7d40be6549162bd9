"""Partitions against the PIL backend of transformers' own LLaVA-Next image processor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.llava_next.image_processing_pil_llava_next import (
    LlavaNextImageProcessorPil,
)

from hired_core.geometry.canvas import LayoutError
from hired_core.images.partition import partition_image
from tests.support.geometry import anyres

GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
EXACT = [(1, 2), (2, 1), (2, 2), (3, 1), (1, 3)]  # in partitions: no padding
# height x width as shares of a partition, so that each grid gets padding on either side.
PADDED = [(0.9, 1.6), (1.7, 0.93), (1.43, 1.9), (1.81, 1.37), (2.9, 0.77), (0.61, 2.7), (0.05, 2.8)]


def pinpoints(size: int) -> list[tuple[int, int]]:
    return [(rows * size, cols * size) for rows, cols in GRIDS]


def noise(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(height * 10007 + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def smooth(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    channels = [np.sin(x / 17.0), np.cos(y / 23.0), np.sin((x + 2 * y) / 41.0)]
    return Image.fromarray((np.stack(channels, -1) * 127 + 128).astype(np.uint8))


def of_transformers(image: Image.Image, size: int) -> npt.NDArray[np.float64]:
    """[P, 3, S, S], pixel values 0..255 before rescaling and normalising."""
    processor = LlavaNextImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_grid_pinpoints=[list(p) for p in pinpoints(size)],
        do_rescale=False,
        do_normalize=False,
    )
    values: npt.NDArray[np.float64] = np.asarray(processor(image)["pixel_values"][0], np.float64)
    return values


def sizes_for(partition: int) -> list[tuple[int, int]]:
    exact = [(rows * partition, cols * partition) for rows, cols in EXACT]
    padded = [(max(1, int(h * partition)), int(w * partition)) for h, w in PADDED]
    return exact + padded


@pytest.mark.parametrize("make", [noise, smooth])
@pytest.mark.parametrize(
    ("partition", "size"),
    [(112, size) for size in [*sizes_for(112), (77, 501), (1, 1), (3, 5), (999, 1001)]]
    + [(336, size) for size in [*sizes_for(336), (333, 777), (1345, 1009)]],
)
def test_equal_to_transformers(partition: int, size: tuple[int, int], make: object) -> None:
    image = make(*size)  # type: ignore[operator]
    expected = of_transformers(image, partition)
    result = partition_image(image, anyres(pinpoints(partition), partition))
    assert result.dtype == np.uint8 and result.flags.c_contiguous
    assert result.shape == expected.shape
    assert np.abs(result - expected).max() == 0


sides = st.integers(1, 200)


@settings(max_examples=150, deadline=None)
@given(height=sides, width=sides)
def test_equal_to_transformers_at_any_size(height: int, width: int) -> None:
    image = noise(height, width)
    try:
        result = partition_image(image, anyres(pinpoints(28), 28))
    except LayoutError:
        return  # transformers goes on with an image of no pixels
    assert np.array_equal(result, of_transformers(image, 28))


def test_the_canvas_is_that_of_the_size_which_is_given() -> None:
    """A copy of 45 x 61 pixels of an image of 90 x 121, which is cut in four."""
    whole, copy = smooth(90, 121), smooth(90, 121).resize((61, 45), Image.Resampling.BOX)
    grids = [(28, 112), (56, 56)]
    expected = partition_image(whole, anyres(grids, 28))
    result = partition_image(copy, anyres(grids, 28), image_size=(90, 121))
    assert np.abs(result.astype(int) - expected).max() <= 12
    assert ((result == 0).all(1) == (expected == 0).all(1)).all()  # the same padding


def test_partitions_are_cut_in_raster_order_rows_before_columns() -> None:
    # Six cells of one colour each on a 2 x 3 grid, no resizing at all.
    cells = np.arange(1, 7, dtype=np.uint8).reshape(2, 3) * 40
    pixels = np.repeat(np.repeat(cells, 8, 0), 8, 1)[..., None].repeat(3, -1)
    parts = partition_image(Image.fromarray(pixels), anyres([(16, 24)], 8))
    assert [np.unique(part).tolist() for part in parts[1:]] == [[v] for v in range(40, 241, 40)]


def test_padding_is_black_and_after_the_content_where_it_is_odd() -> None:
    white = Image.new("RGB", (24, 9), "white")
    # 9 of 16 rows: 3 before, 4 after.
    parts = partition_image(white, anyres([(16, 24)], 8))
    rows = parts[1:].reshape(2, 3, 3, 8, 8).transpose(0, 3, 1, 4, 2).reshape(16, 24, 3)
    assert rows[:, 0, 0].tolist() == [0] * 3 + [255] * 9 + [0] * 4
    assert parts[0].min() == 255


def test_too_elongated() -> None:
    with pytest.raises(LayoutError):
        partition_image(noise(1, 2000), anyres(pinpoints(112), 112))
