"""AVIF, JPEG 2000 and HEIC: read by content, upright, within limits."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from hired_core.images.decode import Decoded, ImageError, decode_at_least
from hired_core.images.opening import brands, is_heif
from tests.support.bad_images import encode, heic
from tests.support.odd_pictures import PICTURE, logo

ENCODED = {
    "AVIF": encode(PICTURE, "AVIF", quality=95),
    "HEIC": heic(PICTURE, quality=95),
    "JP2": encode(PICTURE, "JPEG2000"),
    "J2K": encode(PICTURE, "JPEG2000", no_jp2=True),
}


def decoded(data: bytes, **limits: Any) -> Decoded:
    return decode_at_least(data, lambda size: size, **limits)


def code_of(data: bytes, **limits: Any) -> str:
    with pytest.raises(ImageError) as caught:
        decoded(data, **limits)
    return caught.value.code


def saved(file: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    file.save(buffer, quality=95, **options)
    return buffer.getvalue()


def difference(found: Decoded, image: Image.Image) -> float:
    return float(np.abs(np.asarray(found.image).astype(int) - np.asarray(image)).mean())


@pytest.mark.parametrize("name", ENCODED)
def test_it_is_the_picture(name: str) -> None:
    found = decoded(ENCODED[name])
    assert found.notes == () and found.image.mode == "RGB"
    assert difference(found, PICTURE) < (0.01 if name[0] == "J" else 3)


@pytest.mark.parametrize("name", ENCODED)
def test_the_pixel_limit_is_inclusive(name: str) -> None:
    assert decoded(ENCODED[name], max_pixels=96 * 64).size == (64, 96)
    assert code_of(ENCODED[name], max_pixels=96 * 64 - 1) == "image_too_many_pixels"


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_short_it_is_refused(name: str, share: float) -> None:
    data = ENCODED[name]
    codes = {"image_truncated", "image_corrupt", "image_unidentified"}
    assert code_of(data[: int(len(data) * share)]) in codes
    assert code_of(data[: int(len(data) * share)], accept_truncated=True) in codes


@pytest.mark.parametrize("name", ["JP2", "J2K"])
def test_the_codestream_is_believed_and_not_the_file_around_it(name: str) -> None:
    data = ENCODED[name]
    at = data.index(b"\xff\x4f\xff\x51") + 8
    claimed = data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :]
    assert code_of(claimed) == "image_too_many_pixels"


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_rotated_as_its_camera_says(orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        6: Image.Transpose.ROTATE_270,
        8: Image.Transpose.ROTATE_90,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = PICTURE.transpose(turns[orientation])
    file = pillow_heif.from_pillow(PICTURE)
    file[0].info["exif"] = exif.tobytes()  # By which the encoder has readers turn it.
    for data in (encode(PICTURE, "AVIF", exif=exif, quality=95), saved(file)):
        found = decoded(data)
        assert found.size == (upright.height, upright.width)
        assert difference(found, upright) < 3


@pytest.mark.parametrize("kind", ["AVIF", "HEIC", "JPEG2000"])
def test_transparency(kind: str) -> None:
    image = logo((255, 255, 255))
    found = decoded(heic(image) if kind == "HEIC" else encode(image, kind))
    assert found.notes == ("ground_black",)
    assert min(found.image.getpixel((48, 32))) > 240  # type: ignore[type-var]
    assert max(found.image.getpixel((0, 0))) < 16  # type: ignore[type-var]


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey(mode: str) -> None:
    for data in (encode(PICTURE.convert(mode), "AVIF"), heic(PICTURE.convert(mode))):
        assert difference(decoded(data), PICTURE.convert("L").convert("RGB")) < 4


def test_the_main_picture_of_a_heic_of_several() -> None:
    file = pillow_heif.from_pillow(PICTURE.rotate(180))
    file.add_from_pillow(PICTURE)
    assert difference(decoded(saved(file, primary_index=1)), PICTURE) < 3


def test_ten_bits_of_a_heic_are_all_of_the_range() -> None:
    values = np.rint(np.asarray(PICTURE).astype(float) * 257).astype(np.uint16)
    file = pillow_heif.from_bytes("RGB;16", PICTURE.size, values.tobytes())
    found = decoded(saved(file))
    assert found.notes == () and difference(found, PICTURE) < 3


def test_formats_are_told_by_their_brands() -> None:
    assert is_heif(ENCODED["HEIC"]) and not is_heif(ENCODED["AVIF"])
    assert brands(ENCODED["AVIF"]) >= {b"avif", b"mif1"}
    renamed = ENCODED["HEIC"].replace(b"ftypheic", b"ftypmif1", 1)
    assert is_heif(renamed) and difference(decoded(renamed), PICTURE) < 3
    assert brands(b"") == brands(b"\xff" * 20) == set() and not is_heif(b"\0\0\0\x08ftyp")


def test_no_other_code_opens_heic_unawares() -> None:
    """The decoder is not registered with Pillow, and not even loaded for other formats."""
    code = (
        "import sys, io; from PIL import Image\n"
        "from hired_core.images.decode import decode_image\n"
        "from tests.support.bad_images import GOOD\n"
        "decode_image(GOOD); assert 'pi_heif' not in sys.modules\n"
        "from tests.support.odd_pictures import ODD\n"
        "data = next(o.data for o in ODD if o.name == 'heic')\n"
        "decode_image(data); assert 'pi_heif' in sys.modules\n"
        "Image.init(); assert 'HEIF' not in Image.OPEN\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
