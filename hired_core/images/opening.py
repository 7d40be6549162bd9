"""Encoded bytes -> an opened image of which nothing is decoded yet: formats, and their size."""

from __future__ import annotations

import io
from typing import Any, Final

from PIL import AvifImagePlugin, Image
from PIL.ImageFile import ImageFile

from hired_core.images.png_chunks import SIGNATURE, without_metadata

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "HEIF")
"""Told by content. HEIF (.heic) is libheif's, by pi-heif; the others are Pillow's own."""

_PILLOWS: Final = FORMATS[:-1]
_HEVC_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_CODESTREAM: Final = b"\xff\x4f\xff\x51"  # of JPEG 2000: its first marker and that of its size
_JP2: Final = b"\0\0\0\x0cjP  \r\n\x87\n"


def open_image(data: bytes, *, max_pixels: int) -> tuple[ImageFile, list[str]]:
    """The image, unread, and notes on it.

    Its size is known and within the limit, which is looked at before anything is decoded; the
    caller has set `Image.MAX_IMAGE_PIXELS` too, since some formats allocate as they are opened.

    Raises:
        PIL.UnidentifiedImageError: if it is of none of FORMATS.
        Image.DecompressionBombError: if it is too large.
        Exception: whatever else the format's parser raises.
    """
    notes: list[str] = []
    if data.startswith(SIGNATURE):
        data, notes = without_metadata(data)
    if data.startswith((_CODESTREAM, _JP2)):
        check_pixels(_size_of_codestream(data), max_pixels)
    if is_heif(data):
        return _open_heif(data, max_pixels), notes
    return Image.open(io.BytesIO(data), formats=_PILLOWS), notes


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Raises `Image.DecompressionBombError` if there are more."""
    pixels = size[0] * size[1]
    if pixels > max_pixels:
        raise Image.DecompressionBombError(
            f"Image size ({pixels} pixels) exceeds limit of {max_pixels} pixels"
        )


def brands(data: bytes) -> set[bytes]:
    """Of an ISO media file, such as AVIF, HEIC and MP4: the formats that it says it is of."""
    if data[4:8] != b"ftyp":
        return set()
    box = data[8 : min(int.from_bytes(data[:4]), 256)]
    return {box[:4], *(box[at : at + 4] for at in range(8, len(box), 4))}


def is_heif(data: bytes) -> bool:
    """Whether it holds HEVC pictures; the first brand of many says no more than HEIF."""
    found = brands(data)
    return bool(found & _HEVC_BRANDS) and data[8:12] not in _AVIF_BRANDS


def load_decoders() -> None:
    """All decoders, now, each with one thread: for a process whose memory will be limited."""
    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    _heif().options.DECODE_THREADS = 1


def _heif() -> Any:
    import pi_heif  # 10 ms that no other format has to wait for

    return pi_heif


def _open_heif(data: bytes, max_pixels: int) -> ImageFile:
    """Not registered with Pillow: no other code of the process opens such files unawares."""
    from pi_heif.as_plugin import HeifImageFile

    _heif()
    image: ImageFile = HeifImageFile(io.BytesIO(data))
    check_pixels(image.size, max_pixels)
    return image


def _size_of_codestream(data: bytes) -> tuple[int, int]:
    """(width, height) that a JPEG 2000 decoder goes by, whatever the file around it says."""
    at = data.find(_CODESTREAM)
    if at < 0 or at + 24 > len(data):
        return 0, 0
    right, bottom, left, top = (
        int.from_bytes(data[at + 8 + 4 * i : at + 12 + 4 * i]) for i in range(4)
    )
    return max(0, right - left), max(0, bottom - top)
