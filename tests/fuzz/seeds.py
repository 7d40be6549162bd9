"""Sound images of every format and mode, small: what the mutations start from."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.support.bad_images import CASES, encode, heic, picture
from tests.support.odd_pictures import ODD

_Made = Callable[[], bytes]


def image_seeds() -> list[bytes]:
    """In an order that never changes."""
    plain = [encode(picture(), fmt, **options) for fmt, options in _FORMATS]
    modes = [encode(picture(mode), "PNG") for mode in ("L", "LA", "P", "RGBA", "1", "I;16")]
    modes += [encode(picture("CMYK"), "JPEG"), encode(picture("L"), "JPEG")]
    bad = [case.data for case in CASES if 0 < len(case.data) < 100_000]
    odd = [odd.data for odd in ODD if len(odd.data) < 100_000]
    deep = [encode(picture(), "AVIF"), heic(picture()), encode(picture(), "JPEG2000")]
    deep += [encode(picture("RGBA"), fmt) for fmt in ("AVIF", "JPEG2000")]
    moving = [_animation(fmt) for fmt in ("GIF", "WEBP")]
    return [*plain, *modes, *moving, _with_exif(), *bad, *odd, *deep, _animation("AVIF")]


_FORMATS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("JPEG", {"quality": 90}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("PNG", {"optimize": True, "dpi": (72, 72)}),
    ("WEBP", {"quality": 80}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ("TIFF", {"compression": "jpeg"}),
)


def _animation(fmt: str) -> bytes:
    buffer = io.BytesIO()
    frames = [picture(), picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(buffer, fmt, save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def _with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    return encode(picture(), "JPEG", exif=exif)
