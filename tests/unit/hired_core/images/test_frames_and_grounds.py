"""Which frame, page and ground is the picture."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hired_core.images.decode import Decoded, ImageError, decode_at_least
from hired_core.images.frames import MAX_FRAMES
from tests.support.bad_images import encode
from tests.support.odd_pictures import BLANK, PICTURE, animation, logo, tiff_pages

FORMATS = ["GIF", "WEBP", "PNG"]
BLUE = Image.new("RGB", PICTURE.size, (20, 20, 200))


def decoded(data: bytes, **limits: Any) -> Decoded:
    return decode_at_least(data, lambda size: size, **limits)


def like(found: Decoded, image: Image.Image) -> bool:
    """Palettes of GIFs differ by a little."""
    return np.abs(np.asarray(found.image).astype(int) - np.asarray(image)).max() <= 8


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_first_frame_that_shows_something(fmt: str) -> None:
    found = decoded(animation(fmt, BLANK, BLUE, PICTURE, PICTURE.rotate(180)))
    assert like(found, PICTURE) and found.notes == ("frame_3",)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_first_frame_that_shows_something_is_it(fmt: str) -> None:
    found = decoded(animation(fmt, PICTURE, PICTURE.rotate(180)))
    assert like(found, PICTURE) and found.notes == ()


@pytest.mark.parametrize("fmt", FORMATS)
def test_where_no_frame_shows_anything_it_is_the_first(fmt: str) -> None:
    found = decoded(animation(fmt, BLANK, BLUE))
    assert like(found, BLANK) and found.notes == ()
    single = decoded(encode(BLANK, fmt))
    assert like(single, BLANK) and single.notes == ()


def test_an_avif_that_begins_blank() -> None:
    found = decoded(animation("AVIF", BLANK, PICTURE, quality=95))
    assert found.notes == ("frame_2",)
    assert np.abs(np.asarray(found.image).astype(int) - np.asarray(PICTURE)).mean() < 3


def test_a_transparent_first_frame_shows_nothing() -> None:
    nothing = Image.new("RGBA", PICTURE.size, (255, 0, 0, 0))
    found = decoded(animation("WEBP", nothing, PICTURE.convert("RGBA"), exact=True))
    assert like(found, PICTURE) and found.notes == ("frame_2",)


def test_a_white_logo_that_appears_is_laid_over_black() -> None:
    nothing, disc = Image.new("RGBA", (96, 64)), logo((255, 255, 255))
    found = decoded(animation("PNG", nothing, disc, disposal=1))
    assert set(found.notes) == {"frame_2", "ground_black"}
    assert found.image.getpixel((48, 32)) == (255, 255, 255)
    assert found.image.getpixel((0, 0)) == (0, 0, 0)


def test_frames_are_looked_at_up_to_a_count() -> None:
    """The picture comes one frame too late, and at the last moment."""
    grey = [Image.new("RGB", (32, 32), (100 + i,) * 3) for i in range(MAX_FRAMES)]
    shown = PICTURE.resize((32, 32))
    assert decoded(animation("WEBP", *grey, shown)).notes == ()
    assert decoded(animation("WEBP", *grey[1:], shown)).notes == (f"frame_{MAX_FRAMES}",)


def test_damage_behind_a_blank_frame_leaves_the_first() -> None:
    data = animation("GIF", BLANK, PICTURE)
    found = decoded(data[: len(data) - 120])
    assert like(found, BLANK) and found.notes == ()


def small(share: int = 2) -> Image.Image:
    return PICTURE.resize((PICTURE.width // share, PICTURE.height // share)).transpose(
        Image.Transpose.FLIP_LEFT_RIGHT
    )


@pytest.mark.parametrize(
    ("pages", "reduced", "index"),
    [
        ((small(), PICTURE), (), 1),  # of the same shape, with four times the pixels
        ((small(4), small(2), PICTURE), (), 2),  # the largest
        ((PICTURE, small()), (1,), 0),
        ((PICTURE, small()), (), 0),
        ((PICTURE.rotate(180), PICTURE), (), 0),  # pages of a document
        ((PICTURE.resize((90, 60)), PICTURE), (), 0),
        ((PICTURE.resize((90, 60)), PICTURE), (0,), 1),  # it says so itself
        ((PICTURE.resize((20, 64)), PICTURE.resize((192, 128))), (), 0),  # of another shape
        ((small(), PICTURE, PICTURE.resize((192, 128))), (0, 2), 1),
        ((small(), small(4)), (0, 1), 0),
    ],
)
def test_pages(pages: tuple[Image.Image, ...], reduced: tuple[int, ...], index: int) -> None:
    found = decoded(tiff_pages(*pages, reduced=reduced))
    assert np.array_equal(np.asarray(found.image), np.asarray(pages[index]))
    assert found.size == (pages[index].height, pages[index].width)
    assert found.notes == ((f"page_{index + 1}",) if index else ())


def test_the_pixel_limit_is_on_the_page_that_is_the_picture() -> None:
    data = tiff_pages(small(), PICTURE)
    assert decoded(data, max_pixels=96 * 64).notes == ("page_2",)
    with pytest.raises(ImageError) as caught:
        decoded(data, max_pixels=96 * 64 - 1)
    assert caught.value.code == "image_too_many_pixels"


def test_damaged_pages_behind_the_first_do_not_matter() -> None:
    data = tiff_pages(PICTURE, small())
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        second = image._frame_pos[1]  # type: ignore[attr-defined]
    found = decoded(data[:second] + b"\xff" * 40 + data[second + 40 :])
    assert np.array_equal(np.asarray(found.image), np.asarray(PICTURE)) and found.notes == ()


def over(image: Image.Image, colour: str) -> Image.Image:
    ground = Image.new("RGBA", image.size, colour)
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


@pytest.mark.parametrize(
    ("colour", "ground"),
    [
        ((255, 255, 255), "black"),
        ((240, 240, 250), "black"),
        ((255, 255, 200), "black"),  # pale yellow is hardly told from white either
        ((200, 200, 200), "white"),
        ((0, 0, 0), "white"),
        ((255, 120, 0), "white"),
    ],
)
@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_logos(colour: tuple[int, int, int], ground: str, fmt: str) -> None:
    image = logo(colour)
    options = {"lossless": True, "exact": True} if fmt == "WEBP" else {}
    found = decoded(encode(image, fmt, **options))
    assert np.array_equal(np.asarray(found.image), np.asarray(over(image, ground)))
    assert found.notes == (("ground_black",) if ground == "black" else ())


def test_a_white_logo_as_grey_and_as_palette() -> None:
    grey = decoded(encode(logo((255,) * 3).convert("LA"), "PNG"))
    palette = Image.new("P", (96, 64))
    palette.putpalette([255, 255, 255, 250, 250, 250])
    palette.paste(1, (20, 20, 60, 40))
    indexed = decoded(encode(palette, "GIF", transparency=0))
    assert grey.notes == indexed.notes == ("ground_black",)
    assert indexed.image.getpixel((0, 0)) == (0, 0, 0)
    assert indexed.image.getpixel((30, 30)) == (250, 250, 250)


def test_a_white_logo_with_a_shadow_stays_on_white() -> None:
    image = logo((255, 255, 255))
    image.alpha_composite(Image.new("RGBA", (30, 4), (0, 0, 0, 120)), (33, 55))
    assert decoded(encode(image, "PNG")).notes == ()


def test_nothing_is_laid_over_white() -> None:
    found = decoded(encode(Image.new("RGBA", (8, 8)), "PNG"))
    assert found.image.getextrema() == ((255, 255),) * 3 and found.notes == ()


def test_a_white_picture_without_transparency_has_no_ground() -> None:
    found = decoded(encode(Image.new("RGBA", (8, 8), "white"), "PNG"))
    assert found.notes == ()
