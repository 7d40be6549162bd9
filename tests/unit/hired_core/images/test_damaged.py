"""What is damaged and all there is captioned and marked; what is cut in the middle is refused."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hired_core.images import damaged
from hired_core.images.decode import Decoded, ImageError, decode_at_least
from hired_core.images.notes import NOTES, are_notes
from hired_core.images.png_chunks import without_metadata
from tests.support.bad_images import encode, picture
from tests.support.odd_pictures import (
    JPEG,
    LONG_TEXT,
    ODD,
    PICTURE,
    ROTATED,
    SIGNATURE,
    WRONG,
    Odd,
    chunk,
    chunks_of,
    png,
    png_of_stream,
    stream_of,
)

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8))
PALETTE = PICTURE.quantize(8)
CLEAR = {"image": PALETTE, "transparency": PALETTE.getpixel((0, 0))}
PNG = encode(PICTURE, "PNG")
XMP = b'<x xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
PROFILE = b"\nexif\n      %d\n%s\n" % (len(ROTATED) + 6, (b"Exif\0\0" + ROTATED).hex().encode())


def decoded(data: bytes, **options: Any) -> Decoded:
    return decode_at_least(data, lambda size: size, **options)


def code_of(data: bytes, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        decoded(data, **options)
    return caught.value.code


def same(found: Decoded, image: Image.Image) -> bool:
    return np.array_equal(np.asarray(found.image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_odd_pictures_are_captioned_with_their_notes(odd: Odd) -> None:
    assert decoded(odd.data).notes == odd.notes


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd.name.startswith(("png_", "jpeg_"))])
def test_and_show_what_is_in_them(odd: Odd) -> None:
    shown = Image.open(io.BytesIO(JPEG)) if odd.name == "jpeg_end" else PICTURE
    assert odd.name == "png_12_bits" or same(decoded(odd.data), shown)


# Chunks of PNGs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"pHYs", b"gAMA", b"prVt"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_ancillary_chunks_have_no_say(kind: bytes, where: str) -> None:
    """Whatever is in them: nothing, rubbish, more than Pillow unpacks; checksums right or not."""
    bodies = (b"", b"\xff" * 5, b"a\0\0" + zlib.compress(bytes(2_000_000)), bytes(3_000_000))
    for body in bodies:
        for crc, notes in ((None, ()), (WRONG, ("checksum_wrong",))):
            part = chunk(kind, body, crc)
            data = png(part) if where == "before" else png(after=part)
            found = decoded(data)
            assert same(found, PICTURE) and found.notes == notes


def test_one_that_ends_too_early_is_left_out() -> None:
    text = chunk(b"tEXt", b"key\0" + bytes(500))
    found = decoded(png(after=text)[: -12 - 100])
    assert same(found, PICTURE) and found.notes == ("end_missing",)


def test_the_walk_keeps_what_pixels_are_made_of() -> None:
    exif = chunk(b"eXIf", ROTATED)
    data = png(exif, chunk(b"tEXt", b"a\0b"), chunk(b"iCCP", b"x\0\0"), **CLEAR)
    kept, notes = without_metadata(data)
    kinds = [kind for kind, _ in chunks_of(kept)]
    assert kinds == [b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"] and not notes
    assert without_metadata(PNG)[0] is PNG  # nothing is copied where nothing goes
    assert same(decoded(data), decoded(png(exif, **CLEAR)).image)


@pytest.mark.parametrize(
    "part",
    [
        chunk(b"eXIf", ROTATED),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE)),
        chunk(b"tEXt", b"Raw profile type exif\0" + PROFILE),
    ],
    ids=["eXIf", "XMP", "packed XMP", "packed profile", "profile"],
)
def test_texts_that_tell_the_orientation_still_do(part: bytes) -> None:
    with Image.open(io.BytesIO(png(part))) as image:
        assert image.getexif()[0x0112] == 6  # as Pillow by itself reads it
    assert same(decoded(png(part)), PICTURE.transpose(Image.Transpose.ROTATE_270))


def test_the_first_of_them_counts_and_a_large_one_does_not() -> None:
    turned = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    other = turned.replace(b'"6"', b'"3"')
    large = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG_TEXT)
    assert decoded(png(turned, other[:-4] + zlib.crc32(other[4:-4]).to_bytes(4))).size == (96, 64)
    assert decoded(png(large)).size == (64, 96)


def test_wrong_checksums_are_treated_as_browsers_do() -> None:
    """Chromium 156: ancillary chunks are as if they were not there; header and palette must be."""
    assert same(decoded(png(spoil=b"tRNS", **CLEAR)), PALETTE)
    assert not same(decoded(png(**CLEAR)), PALETTE)
    assert same(decoded(png(chunk(b"eXIf", ROTATED, WRONG))), PICTURE)
    assert decoded(png(spoil=b"tRNS", **CLEAR)).notes == ("checksum_wrong",)
    assert code_of(png(spoil=b"IHDR")) == "image_unidentified"
    assert code_of(png(spoil=b"PLTE", image=PALETTE)) == "image_unidentified"
    assert same(decoded(png(spoil=b"IDAT")), PICTURE)
    assert same(decoded(png(spoil=b"IEND")), PICTURE)


def test_an_animation_with_a_wrong_checksum_is_a_still_picture() -> None:
    frames = [PICTURE, PICTURE.rotate(180)]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    at = data.index(b"acTL")
    spoilt = data[: at + 12] + WRONG + data[at + 16 :]
    found = decoded(spoilt)
    assert same(found, PICTURE) and found.notes == ("checksum_wrong",)


def test_pixels_whose_own_checksum_is_wrong() -> None:
    """The stream's checksum is wrong from the beginning, or bytes were changed afterwards."""
    stream = stream_of()
    found = decoded(png_of_stream(stream[:-4] + b"abcd"))
    assert same(found, PICTURE) and found.notes == ("checksum_wrong",)
    data = bytearray(encode(NOISE, "PNG"))
    data[len(data) // 2] ^= 0xFF
    assert code_of(bytes(data)) in ("image_corrupt", "image_truncated")
    assert code_of(bytes(data), accept_truncated=True) in ("image_corrupt", "image_truncated")


# Files that end early ---------------------------------------------------------------------------


@pytest.mark.parametrize("image", [PICTURE, NOISE, PICTURE.convert("L"), PICTURE.convert("CMYK")])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end(image: Image.Image, options: Any, missing: int) -> None:
    data = encode(image, "JPEG", quality=90, **options)
    found = decoded(data[:-missing])
    assert same(found, Image.open(io.BytesIO(data))) and found.notes == ("end_missing",)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [12, 40, 400, 4000])
def test_a_jpeg_cut_in_its_pixels_is_refused(missing: int, progressive: bool) -> None:
    data = encode(NOISE, "JPEG", quality=90, progressive=progressive)
    assert code_of(data[:-missing]) == "image_truncated"


def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused() -> None:
    """All lines are there, at a quality that is not that of the file."""
    data = encode(NOISE, "JPEG", quality=90, progressive=True)
    starts = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    tables = data.rindex(b"\xff\xc4", 0, starts[-1])
    for end in (starts[-1], tables):
        assert code_of(data[:end]) == "image_truncated"
        found = decoded(data[:end], accept_truncated=True)
        assert found.notes == ("truncated",) and found.image.size == NOISE.size


def test_an_upright_size_is_that_of_the_whole_however_it_ends() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(picture(size=(480, 320)), "JPEG", exif=exif)
    found = decode_at_least(data[:-2], lambda size: (1, 1))
    assert found.size == (480, 320) == (found.image.height, found.image.width)


def test_a_png_whose_stream_lacks_its_end() -> None:
    stream = stream_of()
    whole, cut = png_of_stream(stream), png_of_stream(stream[:-2])
    assert same(decoded(whole), PICTURE) and same(decoded(cut), PICTURE)
    assert code_of(PNG[:-24]) == "image_truncated"


def test_a_gif_without_its_last_bytes() -> None:
    data = encode(PICTURE, "GIF")
    for missing in (1, 2, 3):
        assert same(decoded(data[:-missing]), Image.open(io.BytesIO(data)))
    assert decoded(data[:-3]).notes == ("end_missing",)
    assert code_of(data[: len(data) // 2]) == "image_truncated"


def test_a_gif_with_transparency_hides_nothing() -> None:
    """Pillow lets what is missing of one be transparent, so that it cannot be told."""
    data = encode(PICTURE.quantize(8), "GIF", transparency=5)
    assert code_of(data[: len(data) // 2]) == "image_truncated"
    assert code_of(data[: len(data) // 2], accept_truncated=True) == "image_truncated"


# --truncated accept -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 90}), ("PNG", {}), ("GIF", {"interlace": 0}), ("BMP", {})],
)
def test_the_part_that_is_there_is_cut_out(kind: str, options: Any) -> None:
    data = encode(NOISE, kind, **options)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    half = data[: len(data) // 2]
    assert code_of(half) == "image_truncated"
    found = decoded(half, accept_truncated=True)
    part = np.asarray(found.image)
    assert found.notes == ("truncated",) and found.size == part.shape[:2]
    assert 15 <= len(part) < 40 and part.shape[1] == 96
    assert np.array_equal(part, whole[-len(part) :] if kind == "BMP" else whole[: len(part)])


@pytest.mark.parametrize("options", [{"progressive": True}])
def test_what_came_in_passes_is_taken_whole(options: Any) -> None:
    data = encode(PICTURE, "JPEG", quality=90, **options)
    found = decoded(data[: len(data) * 3 // 4], accept_truncated=True)
    assert found.notes == ("truncated",) and found.image.size == PICTURE.size


def test_a_gif_in_passes_repeats_the_lines_it_has() -> None:
    """Every fourth line has come, and of those between a part."""
    data = encode(NOISE, "GIF", interlace=1)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    found = decoded(data[: len(data) * 3 // 8], accept_truncated=True)
    shown = np.asarray(found.image)
    assert found.notes == ("truncated",) and shown.shape == whole.shape
    assert np.array_equal(shown[::4], whole[::4])
    assert np.array_equal(shown[57::4], whole[56::4])


def test_where_nothing_is_there_it_stays_refused() -> None:
    data = encode(NOISE, "PNG")
    assert code_of(data[:60], accept_truncated=True) == "image_truncated"
    webp = encode(PICTURE, "WEBP", lossless=True)
    assert code_of(webp[:-8], accept_truncated=True) in ("image_truncated", "image_corrupt")
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    empty = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
    assert code_of(empty, accept_truncated=True) == "image_truncated"


def test_a_rotated_part_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(NOISE, "JPEG", quality=90, exif=exif)
    found = decoded(data[: len(data) // 2], accept_truncated=True)
    assert found.image.height == 96 and found.image.width < 48


def test_too_little_memory_to_look_twice_is_no_news(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(damaged, "_lines_alike", short)
    assert code_of(JPEG[:-2]) == "image_truncated"


def test_notes_are_told_from_anything_else() -> None:
    assert are_notes([]) and are_notes(["end_missing", "frame_2", "page_64"])
    for wrong in (["frame"], ["frame_0"], ["end_missing_2"], ["frame_1234567"], ["x"], [""]):
        assert not are_notes(wrong)
    assert not are_notes(["truncated"] * (len(NOTES) + 1))
