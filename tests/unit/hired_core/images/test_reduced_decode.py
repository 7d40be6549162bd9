"""JPEGs decoded at 1/2, 1/4 or 1/8: never below what is needed, and as if it were the whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hired_core.geometry.canvas import CanvasFit, LayoutError, Size, select_best_resolution
from hired_core.images.decode import Decoded, ImageError, decode_at_least, decode_image
from hired_core.images.partition import partition_image
from tests.support.bad_images import encode
from tests.support.geometry import anyres
from tests.unit.hired_core.images.test_partition import pinpoints, smooth


def jpeg(height: int, width: int, **options: object) -> bytes:
    return encode(smooth(height, width), "JPEG", quality=95, **options)


def parts(decoded: Decoded) -> tuple[Image.Image, Size]:
    assert not decoded.notes
    return decoded.image, decoded.size


def turned(data: bytes, orientation: int) -> bytes:
    """The JPEG with that EXIF orientation, its pixels as they are."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "JPEG", exif=exif, quality="keep")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("least", "decoded"),
    [
        ((100, 150), (100, 150)),  # half of 200 x 300
        ((101, 150), (200, 300)),
        ((100, 151), (200, 300)),
        ((50, 75), (50, 75)),
        ((49, 76), (100, 150)),
        ((1, 1), (50, 75)),  # an eighth would be 37.5 columns
        ((200, 300), (200, 300)),
        ((400, 600), (200, 300)),
        ((20, 600), (200, 300)),
    ],
)
def test_scales(least: Size, decoded: Size) -> None:
    image, size = parts(decode_at_least(jpeg(200, 300), lambda whole: least))
    assert (image.height, image.width) == decoded
    assert size == (200, 300)


@pytest.mark.parametrize(
    ("size", "scale"),
    [((800, 1600), 8), ((804, 1608), 4), ((804, 1602), 2), ((1602, 804), 2), ((801, 1600), 1)],
)
def test_both_sides_have_to_divide(size: Size, scale: int) -> None:
    image, _ = parts(decode_at_least(jpeg(*size), lambda whole: (1, 1)))
    assert (image.height * scale, image.width * scale) == size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_the_upright_size_that_counts(orientation: int) -> None:
    """An image of 200 x 300, of which 50 columns and 100 rows, or the reverse, would do."""
    data = turned(jpeg(200, 300), orientation)
    asked: list[Size] = []

    def needed(whole: Size) -> Size:
        asked.append(whole)
        return (100, 70) if orientation < 5 else (70, 100)

    image, size = parts(decode_at_least(data, needed))
    whole = decode_image(data)
    upright = (200, 300) if orientation < 5 else (300, 200)
    assert asked == [upright]
    assert size == upright == (whole.height, whole.width)
    assert (image.height, image.width) == (upright[0] // 2, upright[1] // 2)
    halved = whole.resize(image.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(halved)).max() <= 8


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_other_formats_are_decoded_whole(fmt: str) -> None:
    data = encode(smooth(200, 300), fmt)
    image, size = parts(decode_at_least(data, lambda whole: (1, 1)))
    assert size == (200, 300)
    assert np.array_equal(np.asarray(image), np.asarray(decode_image(data)))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_four_colours_are_reduced_too(mode: str) -> None:
    data = encode(smooth(200, 300).convert(mode), "JPEG", quality=95)
    image, size = parts(decode_at_least(data, lambda whole: (100, 150)))
    assert (image.mode, image.size, size) == ("RGB", (150, 100), (200, 300))
    halved = decode_image(data).resize((150, 100), Image.Resampling.BOX)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(halved)).max() <= 8


def test_a_file_cut_short_is_refused_all_the_same() -> None:
    with pytest.raises(ImageError) as caught:
        decode_at_least(jpeg(200, 300)[:4000], lambda whole: (1, 1))
    assert caught.value.code == "image_truncated"


def test_the_pixel_limit_is_on_the_whole() -> None:
    data = jpeg(200, 300)
    assert decode_at_least(data, lambda whole: (1, 1), max_pixels=60_000).size == (200, 300)
    with pytest.raises(ImageError) as caught:
        decode_at_least(data, lambda whole: (1, 1), max_pixels=59_999)
    assert caught.value.code == "image_too_many_pixels"


@given(height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_what_is_needed_is_the_content_and_the_full_image(height: int, width: int) -> None:
    grids = pinpoints(112)
    try:
        least = anyres(grids, 112).needed_size((height, width))
    except LayoutError:
        return
    content = CanvasFit.of((height, width), select_best_resolution((height, width), grids)).content
    for have, inner in zip(least, content, strict=True):
        assert have >= 112 and have >= inner
        assert have in (112, inner)


@pytest.mark.parametrize("size", [(448, 448), (900, 1800), (1804, 900), (450, 1346), (1000, 1004)])
def test_partitions_are_nearly_those_of_the_whole(size: Size) -> None:
    data = jpeg(*size)
    grids = pinpoints(112)
    image, whole = parts(decode_at_least(data, lambda whole: anyres(grids, 112).needed_size(whole)))
    assert image.height < size[0] and image.width < size[1]
    result = partition_image(image, anyres(grids, 112), image_size=whole)
    expected = partition_image(decode_image(data), anyres(grids, 112))
    assert result.shape == expected.shape
    found = np.abs(result.astype(int) - expected)
    assert found.max() <= 24 and found.mean() < 2
