"""More than 8 bits are scaled by the range they are of; expected values apart, by floats."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hired_core.images.decode import Decoded, decode_at_least
from hired_core.images.eight_bits import grey_in_eight_bits
from tests.support.bad_images import encode
from tests.support.odd_pictures import gradient, png16, tiff16, tiff_of

RNG = np.random.default_rng(0)


def decoded(data: bytes) -> Decoded:
    return decode_at_least(data, lambda size: size)


def seen(data: bytes) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    found = decoded(data)
    assert found.image.mode == "RGB"
    return np.asarray(found.image), found.notes


def linear(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.float64]:
    return ((values.astype(float) - low) / (high - low) * 255).clip(0, 255)


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 14, 16])
@pytest.mark.parametrize("make", [png16, tiff_of])
def test_integers_are_of_the_least_depth_that_holds_them(make: Any, bits: int) -> None:
    top = 2**bits - 1
    values = np.rint(gradient() * top).astype(np.uint16)
    pixels, notes = seen(make(values))
    assert np.abs(pixels[..., 0] - linear(values, 0, top)).max() <= 0.5
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert notes == (() if bits == 16 else ("range_scaled",))


@pytest.mark.parametrize(("highest", "bits"), [(200, 8), (300, 10), (1024, 12), (4096, 14)])
def test_the_highest_value_need_not_be_reached(highest: int, bits: int) -> None:
    values = np.arange(highest + 1, dtype=np.uint16)[None]
    pixels, _ = seen(png16(values))
    assert np.abs(pixels[0, :, 0] - linear(values, 0, 2**bits - 1)[0]).max() <= 0.5


def test_sixteen_bits_are_divided_by_257_and_rounded() -> None:
    """Every value there is, in each byte order; as before there were other depths."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    exact = (values / 257).round()
    little, scaled = grey_in_eight_bits(Image.fromarray(values))
    assert (np.asarray(little) == exact).all() and not scaled
    assert (seen(encode(Image.fromarray(values.astype(">u2")), "TIFF"))[0][..., 0] == exact).all()
    assert (
        np.asarray(grey_in_eight_bits(Image.fromarray(values.astype(np.int32)))[0]) == exact
    ).all()


@pytest.mark.parametrize(
    "values", [[-1000, 0, 3000], [0, 70_000, 140_000], [-(2**31), 0, 2**31 - 1]]
)
def test_other_integers_reach_from_lowest_to_highest(values: list[int]) -> None:
    array = np.array([values], np.int32)
    pixels, notes = seen(tiff_of(array))
    assert np.abs(pixels[0, :, 0] - linear(array, min(values), max(values))[0]).max() <= 0.5
    assert notes == ("range_scaled",)


@pytest.mark.parametrize(
    ("low", "high", "bottom", "top"),
    [
        (0.0, 1.0, 0, 1),
        (0.1, 0.7, 0, 1),
        (0.0, 0.02, 0, 0.02),  # nothing of the upper half: it is of no such range
        (0.0, 9.5, 0, 9.5),
        (-1.0, 1.0, -1, 1),
        (0.0, 65535.0, 0, 65535),
        (-3e30, 3e30, -3e30, 3e30),
    ],
)
def test_floats(low: float, high: float, bottom: float, top: float) -> None:
    values = (low + gradient() * (high - low)).astype(np.float32)
    pixels, notes = seen(tiff_of(values))
    assert np.abs(pixels[..., 0] - linear(values, bottom, top)).max() <= 0.501
    assert notes == ("range_scaled",)


def test_floats_of_eight_bits_are_as_pillow_has_them() -> None:
    values = RNG.uniform(0, 255, (40, 60)).astype(np.float32)
    data = tiff_of(values)
    pixels, notes = seen(data)
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert notes == ()


def test_what_is_not_finite_has_no_say() -> None:
    values = np.array([[0.0, 0.5, 1.0, np.nan, np.inf, -np.inf]], np.float32)
    assert seen(tiff_of(values))[0][0, :, 0].tolist() == [0, 128, 255, 0, 255, 0]
    assert seen(tiff_of(values * 255))[0][0, :, 0].tolist() == [0, 127, 255, 0, 255, 0]
    nothing = np.full((4, 4), np.nan, np.float32)
    assert not seen(tiff_of(nothing))[0].any()


@pytest.mark.parametrize("value", [0, 7])
def test_one_value_is_black_and_no_range(value: int) -> None:
    pixels, notes = seen(tiff_of(np.full((4, 4), value, np.int32) - 7 * (value > 0)))
    assert not pixels.any() and notes == ()


def colours(top: int, bands: int = 3) -> npt.NDArray[np.uint16]:
    values = np.stack([gradient(), gradient()[::-1], gradient()[:, ::-1], gradient()], -1)
    return np.rint(values[..., :bands] * top).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize(
    "make", [png16, lambda v: tiff16(v, "<"), lambda v: tiff16(v, ">")], ids=["png", "II", "MM"]
)
def test_colours_of_few_bits(make: Any, bits: int) -> None:
    values = colours(2**bits - 1)
    pixels, notes = seen(make(values))
    assert np.abs(pixels - linear(values, 0, 2**bits - 1)).max() <= 0.5
    assert notes == ("range_scaled",)


@pytest.mark.parametrize("make", [png16, lambda v: tiff16(v, "<"), lambda v: tiff16(v, ">")])
def test_colours_of_sixteen_bits_are_as_pillow_has_them(make: Any) -> None:
    data = make(colours(65535))
    pixels, notes = seen(data)
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    assert notes == ()


def test_alpha_is_of_the_colours_range_or_of_its_own() -> None:
    values = colours(4095, bands=4)
    values[..., 3] = 4095
    assert np.abs(seen(png16(values))[0] - linear(values[..., :3], 0, 4095)).max() <= 0.5
    values[..., 3] = 65535
    assert np.abs(seen(png16(values))[0] - linear(values[..., :3], 0, 4095)).max() <= 0.5


def test_black_colours_stay_black() -> None:
    pixels, notes = seen(png16(np.zeros((4, 4, 3), np.uint16)))
    assert not pixels.any() and notes == ()


def test_deep_jpeg_2000_is_scaled_by_its_own_depth() -> None:
    values = np.rint(gradient() * 65535).astype(np.uint16)
    data = encode(Image.fromarray(values), "JPEG2000", irreversible=False)
    pixels, _ = seen(data)
    assert np.abs(pixels[..., 0] - linear(values, 0, 65535)).max() <= 1
