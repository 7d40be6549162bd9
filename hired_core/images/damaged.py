"""Files that end early or do not add up: how much of the picture is there all the same.

Decoders fill in what is missing and do not say where. So a file is read twice, with other fillings:
lines that differ are missing.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from hired_core.images.opening import open_image
from hired_core.images.png_chunks import without_stream_checksum

_END_OF_JPEG: Final = b"\xff\xd9"
_NOISE: Final = np.random.default_rng(0).integers(0, 255, 4096, dtype=np.uint8).tobytes()
"""No byte is 255, with which a marker begins."""
_SEGMENT: Final = re.compile(rb"\xff\xda(..)(.)", re.DOTALL)
_END_OF_GIF: Final = b"\0;"
_FILLED: Final = ("PNG", "GIF", "BMP", "TIFF")
_JPEGS: Final = ("JPEG", "MPO")


@dataclass(frozen=True, kw_only=True)
class Salvaged:
    """A decoded image, and what is to be said of it."""

    image: Image.Image
    note: str


def salvage(data: bytes, image_format: str | None, code: str, *, accept: bool) -> Salvaged | None:
    """The image that failed to decode with `code`, if it is all there; None if it is not.

    A JPEG that is all there lacks its end marker alone, and of a progressive one no scan; other
    files lack what stands behind the last line. A PNG whose pixels' own checksum is wrong counts if
    those of its chunks are right: then no byte has changed since it was written.

    Args:
        accept: an image that is truncated in the middle is cut to the lines that are there.
    """
    mended: bytes | None = data
    if code == "image_corrupt":
        mended = without_stream_checksum(data) if image_format == "PNG" else None
    elif code != "image_truncated":
        return None
    try:
        return None if mended is None else _salvage(mended, image_format, code, accept)
    except Exception:  # Of any sort, too little memory for two images too: the file is damaged.
        return None


def _salvage(data: bytes, image_format: str | None, code: str, accept: bool) -> Salvaged | None:
    if image_format in _JPEGS:
        read = _read_jpeg
    elif image_format in _FILLED:
        read = _read_filled
    else:
        return None
    image = read(data, False)
    if image_format == "GIF" and "transparency" in image.info:
        return None  # Pillow fills those in itself, always alike.
    there = _lines_alike(image, read(data, True))
    in_passes = bool(image.info.get("progressive") or image.info.get("interlace"))
    if there.all() and not (image.info.get("progressive") and _lacks_scans(data)):
        note = "checksum_wrong" if code == "image_corrupt" else "end_missing"
        return Salvaged(image=image, note=note)
    if not accept or code != "image_truncated":
        return None
    if in_passes:
        whole = _closed_up(image, there) if image_format == "GIF" else image
        return Salvaged(image=whole, note="truncated")
    return _cut(image, there)


def _read_jpeg(data: bytes, other: bool) -> Image.Image:
    """Ended by a marker, or by noise and a marker: behind the last block neither has an effect."""
    ended = data.rstrip(b"\xff") + (_NOISE if other else b"") + _END_OF_JPEG
    image = Image.open(io.BytesIO(ended), formats=("JPEG",))
    image.load()
    return image


def _read_filled(data: bytes, other: bool) -> Image.Image:
    """Over black, or over white: what no line was written to stays so.

    Of a GIF Pillow reads whole blocks alone; the last is filled up as a JPEG is.
    """
    if data.startswith(b"GIF"):
        data += (_NOISE[:256] if other else bytes(256)) + _END_OF_GIF
    with _no_complaints():
        image, _ = open_image(data, max_pixels=Image.MAX_IMAGE_PIXELS or 0)
        value = (255 if other else 0,) * Image.getmodebands(image.mode)
        if image.format == "GIF" and image.tile[0].args[1]:  # type: ignore[index]  # A tuple in GIFs.
            image.info["interlace"] = 1
        filling = value if len(value) > 1 else value[0]
        image.im = Image.new(image.mode, image.size, filling).im
        image.load()
    return image


@contextmanager
def _no_complaints() -> Iterator[None]:
    """Pillow's own way to read what is truncated; the switch is of the whole process."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _lines_alike(one: Image.Image, other: Image.Image) -> npt.NDArray[np.bool_]:
    """bool [height]."""
    first, second = np.asarray(one), np.asarray(other)
    return np.array([np.array_equal(a, b) for a, b in zip(first, second, strict=True)])


def _lacks_scans(data: bytes) -> bool:
    """Whether a progressive JPEG has no scan for the last bit of some coefficient.

    A scan tells its components, its first and last coefficient, and how many bits are left out.
    """
    left = {component: set(range(64)) for component in _components(data)}
    for found in _SEGMENT.finditer(data):
        count, at = found[2][0], found.end()
        body = data[at : at + 2 * count + 3]
        if len(body) == 2 * count + 3 and body[-1] & 15 == 0:
            done = range(body[-3], body[-2] + 1)
            for component in body[: 2 * count : 2]:
                left.get(component, set()).difference_update(done)
    return any(left.values())


def _components(data: bytes) -> list[int]:
    """Of the frame of a progressive JPEG."""
    found = re.search(rb"\xff[\xc2\xca]..\x08....(.)", data, re.DOTALL)
    if found is None:
        return []
    at = found.end()
    return list(data[at : at + 3 * found[1][0] : 3])


def _cut(image: Image.Image, there: npt.NDArray[np.bool_]) -> Salvaged | None:
    """To the run of lines that are there, from the first line on or, of BMPs, up to the last."""
    height = len(there)
    missing = np.flatnonzero(~there)
    top, bottom = (0, int(missing[0])) if there[0] else (int(missing[-1]) + 1, height)
    if bottom <= top:
        return None
    return Salvaged(image=image.crop((0, top, image.width, bottom)), note="truncated")


def _closed_up(image: Image.Image, there: npt.NDArray[np.bool_]) -> Image.Image:
    """Lines that are missing are the last above them that is there."""
    closed, above = image.copy(), 0
    for line, is_there in enumerate(there):
        above = line if is_there else above
        if not is_there:
            closed.paste(image.crop((0, above, image.width, above + 1)), (0, line))
    return closed
