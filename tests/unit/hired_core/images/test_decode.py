"""Decoding untrusted bytes: what comes out, and the code of what does not."""

from __future__ import annotations

import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hired_core.images.decode import ImageError, decode_image
from hired_core.images.opening import FORMATS
from pipeline.rows.errors import ROW_ERROR_CODES
from tests.support.bad_images import CASES

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    image = decode_image(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def code_of(data: bytes, **options: int) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, **options)
    assert caught.value.code in ROW_ERROR_CODES
    assert str(caught.value)
    return caught.value.code


# Good images ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_give_the_pixels_back(kind: str, options: dict[str, object]) -> None:
    assert np.array_equal(pixels(encoded(NOISE, kind, **options)), np.asarray(NOISE))


def test_jpeg_equals_pillows_own_conversion() -> None:
    data = encoded(NOISE, "JPEG", quality=90)
    assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_grey_has_three_equal_channels() -> None:
    grey = NOISE.convert("L")
    assert np.array_equal(pixels(encoded(grey, "PNG")), np.asarray(grey)[..., None].repeat(3, -1))
    bilevel = NOISE.convert("1")
    assert set(np.unique(pixels(encoded(bilevel, "PNG")))) == {0, 255}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    values = np.array([[0, 128, 257, 25700], [32768, 51400, 65407, 65535]], np.uint16)
    expected = [[0, 0, 1, 100], [128, 200, 255, 255]]  # v / 257, rounded
    result = pixels(encoded(Image.fromarray(values), kind))
    assert result[..., 0].tolist() == expected
    assert np.array_equal(result[..., 0], result[..., 2])


def test_big_endian_sixteen_bit_tiff() -> None:
    data = encoded(Image.fromarray(np.array([[257, 65535]], ">u2")), "TIFF")
    assert pixels(data)[..., 0].tolist() == [[1, 255]]


def test_cmyk() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):
        colour = pixels(encoded(cyan, kind))[8, 8].astype(int)
        assert np.abs(colour - [0, 255, 255]).max() <= 3


def test_transparency_is_laid_over_white() -> None:
    rgba = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 0))
    rgba.putpixel((2, 0), (0, 0, 0, 51))  # a fifth of black over white
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        row = pixels(encoded(rgba, kind, **options))[0].tolist()
        assert row == [[255, 0, 0], [255, 255, 255], [204, 204, 204], [255, 0, 0]]
    grey_alpha = Image.new("LA", (2, 1), (0, 0))
    assert pixels(encoded(grey_alpha, "PNG")).tolist() == [[[255] * 3] * 2]


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 0])
    image.putdata([0, 1, 2])
    assert pixels(encoded(image, "PNG")).tolist() == [[[10, 20, 30], [200, 100, 50], [0, 0, 0]]]
    for kind in ("PNG", "GIF"):
        result = pixels(encoded(image, kind, transparency=1))
        assert result.tolist() == [[[10, 20, 30], [255, 255, 255], [0, 0, 0]]]


def test_transparent_colour_key() -> None:
    image = Image.new("RGB", (2, 1), (9, 9, 9))
    image.putpixel((1, 0), (1, 2, 3))
    result = pixels(encoded(image, "PNG", transparency=(9, 9, 9)))
    assert result.tolist() == [[[255, 255, 255], [1, 2, 3]]]


CORNERS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [90, 90, 90], [255] * 3]])


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        # How the camera stored it, so that applying the tag gives CORNERS back.
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (4, CORNERS[::-1]),
        (5, CORNERS.transpose(1, 0, 2)),
        (6, np.rot90(CORNERS, 1)),
        (7, CORNERS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(CORNERS, -1)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, stored: np.ndarray, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored).astype(np.uint8))
    options = {"lossless": True} if kind == "WEBP" else {}
    assert pixels(encoded(image, kind, exif=exif, **options)).tolist() == CORNERS.tolist()


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\x7f\0\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_image(exif: bytes, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    plain, broken = encoded(NOISE, kind, **options), encoded(NOISE, kind, exif=exif, **options)
    assert np.array_equal(pixels(broken), pixels(plain))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (pixels(data) == [255, 0, 0]).all()


# Bad ones -------------------------------------------------------------------------------------


def test_empty_and_garbage() -> None:
    assert code_of(b"") == "image_empty"
    assert code_of(b"no image at all") == "image_is_text"
    assert code_of(bytes(RNG.integers(0, 256, 5000, dtype=np.uint8))) == "image_unidentified"
    assert code_of(encoded(NOISE, "PNG")[:3]) == "image_unidentified"


@pytest.mark.parametrize("kind", ["PPM", "PCX", "TGA", "ICO", "EPS", "PDF"])
def test_formats_off_the_list_are_not_opened(kind: str) -> None:
    assert kind not in FORMATS
    documents = ("EPS", "PDF")
    expected = "image_is_pdf" if kind in documents else "image_unidentified"
    assert code_of(encoded(NOISE, kind)) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated(kind: str, share: float) -> None:
    data = encoded(NOISE, kind)
    assert code_of(data[: int(len(data) * share)]) == "image_truncated"


@pytest.mark.parametrize("kind", ["TIFF", "WEBP"])
def test_truncated_where_the_format_does_not_tell(kind: str) -> None:
    data = encoded(NOISE, kind)
    codes = {"image_truncated", "image_corrupt", "image_unidentified"}
    assert code_of(data[: len(data) // 2]) in codes


def png_of(width: int, height: int, scanlines: bytes = b"") -> bytes:
    """A PNG whose header claims `width` x `height` whatever data follow."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(scanlines))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header() -> None:
    # 400 MB of pixels claimed in 70 bytes; had they been decoded, it would read as truncated.
    assert code_of(png_of(20_000, 20_000)) == "image_too_many_pixels"
    assert code_of(png_of(20_000, 20_000), max_pixels=400_000_000) != "image_too_many_pixels"


def test_pixel_limit_is_inclusive() -> None:
    data = encoded(NOISE, "PNG")
    assert decode_image(data, max_pixels=48 * 64).size == (64, 48)
    assert code_of(data, max_pixels=48 * 64 - 1) == "image_too_many_pixels"


def test_zero_size() -> None:
    assert code_of(png_of(0, 5)) in {"image_corrupt", "image_unidentified"}


def test_damaged_data() -> None:
    data = bytearray(encoded(NOISE, "PNG"))
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    assert code_of(bytes(data)) in {"image_corrupt", "image_truncated"}


def test_wrong_compressed_stream() -> None:
    assert code_of(png_of(8, 8, b"\0" * 10)) in {"image_corrupt", "image_truncated"}


def test_a_claim_of_size_takes_no_memory() -> None:
    """Pillow by itself allocates 3.6 GB for this GIF's frame as it opens the file."""
    data = next(case.data for case in CASES if case.name == "frame_bomb")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert code_of(data) == "image_too_many_pixels"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * 1024  # KiB
