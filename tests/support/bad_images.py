"""Single images as they should not be, and how the row of each must end.

Everything is rendered here, the same bytes on every run.
"""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, ImageDraw

OK = "ok"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Case:
    """One image; `expected` is how its row ends in a whole job."""

    name: str
    data: bytes
    suffix: str
    """With its dot and in its case, as in a file name."""

    expected: str = OK

    @property
    def file_name(self) -> str:
        return self.name + self.suffix


def picture(mode: str = "RGB", size: tuple[int, int] = (48, 32)) -> Image.Image:
    """A disc on a plain ground."""
    image = Image.new("RGB", size, (235, 235, 225))
    draw = ImageDraw.Draw(image)
    draw.ellipse((size[0] // 4, 4, size[0] // 4 + size[1] // 2, 4 + size[1] // 2), (200, 30, 40))
    draw.rectangle((size[0] // 2, size[1] // 2, size[0] - 4, size[1] - 4), fill=(30, 60, 200))
    return image if mode == "RGB" else image.convert(mode)


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def heic(image: Image.Image, **options: object) -> bytes:
    """By libheif's encoder, which the project itself is without."""
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


def png_with_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size; its data is that of no such image."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return _PNG_SIGNATURE + b"".join(
        [
            _png_chunk(b"IHDR", header),
            _png_chunk(b"IDAT", zlib.compress(b"\0" * 64)),
            _png_chunk(b"IEND", b""),
        ]
    )


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _corrupt_png() -> bytes:
    """A sound header, then image data that is no zlib stream (its checksum is right)."""
    header = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
    garbage = _png_chunk(b"IDAT", b"\xff\x00" * 40)
    return _PNG_SIGNATURE + _png_chunk(b"IHDR", header) + garbage + _png_chunk(b"IEND", b"")


def _corrupt_jpeg() -> bytes:
    """A JPEG without its quantisation tables."""
    data = encode(picture(), "JPEG", quality=90)
    kept, position = [data[:2]], 2
    while data[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if data[position + 1] != 0xDB:
            kept.append(data[position:end])
        position = end
    return b"".join(kept) + data[position:]


def _animated(fmt: str) -> bytes:
    frames = [picture(), picture().rotate(180)]
    return encode(frames[0], fmt, save_all=True, append_images=frames[1:], duration=100)


def _palette_with_transparency() -> bytes:
    image = picture().quantize(8)
    return encode(image, "PNG", transparency=image.getpixel((0, 0)))


def _translucent() -> Image.Image:
    image = picture("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _sixteen_bit() -> bytes:
    grey = picture("L")
    values = [value * 257 for value in grey.tobytes()]
    data = struct.pack(f"<{len(values)}H", *values)
    return encode(Image.frombytes("I;16", grey.size, data), "PNG")


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture(), "JPEG", exif=exif)


def _frame_bomb() -> bytes:
    """A small GIF whose frame claims to be large and to be disposed of, for which Pillow allocates
    as it opens it."""
    screen = struct.pack("<HHBBB", 48, 32, 0x80, 0, 0) + bytes(6)
    disposal = b"\x21\xf9\x04" + bytes([2 << 2, 0, 0, 0, 0])
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 60_000, 60_000, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + screen + disposal + frame + b";"


def _cases() -> tuple[Case, ...]:
    jpeg, png = encode(picture(), "JPEG", quality=90), encode(picture(), "PNG")
    webp = encode(picture(), "WEBP", lossless=True)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>'
    return (
        Case("plain_jpeg", jpeg, ".jpg"),
        Case("long_suffix", jpeg, ".jpeg"),
        Case("upper_case", jpeg, ".JPG"),
        Case("plain_png", png, ".png"),
        Case("upper_png", png, ".PNG"),
        Case("plain_webp", webp, ".webp"),
        Case("plain_bmp", encode(picture(), "BMP"), ".bmp"),
        Case("plain_tiff", encode(picture(), "TIFF"), ".tiff"),
        Case("animated_gif", _animated("GIF"), ".gif"),
        Case("animated_webp", _animated("WEBP"), ".webp"),
        Case("cmyk", encode(picture("CMYK"), "JPEG", quality=90), ".jpg"),
        Case("grey", encode(picture("L"), "JPEG"), ".jpg"),
        Case("sixteen_bit", _sixteen_bit(), ".png"),
        Case("palette_transparent", _palette_with_transparency(), ".png"),
        Case("rgba", encode(_translucent(), "PNG"), ".png"),
        Case("grey_alpha", encode(_translucent().convert("LA"), "PNG"), ".png"),
        Case("one_bit", encode(picture("1"), "PNG"), ".png"),
        Case("exif_rotated", _rotated(), ".jpg"),
        Case("one_pixel", encode(Image.new("RGB", (1, 1), "red"), "PNG"), ".png"),
        Case("png_named_jpg", png, ".jpg"),
        Case("trailing_bytes", jpeg + b"trailing" * 16, ".jpg"),
        Case("empty", b"", ".jpg", "image_empty"),
        Case("truncated_jpeg", jpeg[: len(jpeg) * 2 // 3], ".jpg", "image_truncated"),
        Case("truncated_png", png[: len(png) * 2 // 3], ".png", "image_truncated"),
        Case("corrupt_jpeg", _corrupt_jpeg(), ".jpg", "image_corrupt"),
        Case("corrupt_png", _corrupt_png(), ".png", "image_corrupt"),
        Case("zero_width", png_with_header(0, 8), ".png", "image_unidentified"),
        Case("bomb", png_with_header(60_000, 60_000), ".png", "image_too_many_pixels"),
        Case("frame_bomb", _frame_bomb(), ".gif", "image_too_many_pixels"),
        Case(
            "elongated",
            encode(Image.new("RGB", (1, 5000), "blue"), "PNG"),
            ".png",
            "image_too_elongated",
        ),
        Case("text", b"not found\n", ".jpg", "image_is_text"),
        Case("svg", svg, ".png", "image_is_svg"),
        Case("html", b"<!doctype html><title>404</title>", ".jpg", "image_is_html"),
        Case("pickle", pickle.dumps({"image": 1}), ".jpg", "image_unidentified"),
        Case("only_signature", _PNG_SIGNATURE, ".png", "image_unidentified"),
        Case("zeros", bytes(512), ".jpg", "image_unidentified"),
    )


CASES = _cases()
GOOD = CASES[0].data
