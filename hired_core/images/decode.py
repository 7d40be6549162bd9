"""Encoded image bytes -> RGB pixels, with limits checked before anything is decoded.

The bytes are untrusted: only raster formats of an allow-list are opened, the pixel count is read
from the header first, and every failure is an `ImageError` with a stable code.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from hired_core.geometry.canvas import Size

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
DEFAULT_MAX_PIXELS: Final = 100_000_000

_SIXTEEN_BIT: Final = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE: Final = (5, 6, 7, 8)
_SCALES: Final = (8, 4, 2)


class ImageError(ValueError):
    """An image that cannot be used; `code` is one of the pipeline's row error codes."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def decode_image(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """The image as 8-bit RGB, upright.

    The format is told by content, not by name. Animations give their first frame. EXIF rotation is
    applied. 16-bit grey is scaled to 8 bits, transparency is laid over white, CMYK and palettes
    are converted. On opaque 8-bit images this equals `Image.convert("RGB")`.

    Raises:
        ImageError: image_empty, image_unidentified, image_too_many_pixels, image_truncated,
            image_corrupt or, where memory is limited, image_too_much_memory.
    """
    return decode_at_least(data, lambda size: size, max_pixels=max_pixels)[0]


def decode_at_least(
    data: bytes, needed: Callable[[Size], Size], *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> tuple[Image.Image, Size]:
    """As `decode_image`, but a JPEG of which less is needed is decoded at 1/2, 1/4 or 1/8.

    libjpeg then computes fewer pixels from each block of 8 x 8, which is faster than to decode and
    shrink, and not quite the same. Both sides have to divide: what is cut from a copy with parts of
    a pixel added would be out of place.

    Args:
        needed: the least (height, width) that will do, given those of the whole upright image.

    Returns:
        The image and the (height, width) of the whole.

    Raises:
        ImageError: as `decode_image`.
    """
    if not data:
        raise ImageError("image_empty", "zero bytes")
    with _pixel_limit(max_pixels):
        try:
            return _decode(data, needed)
        except ImageError:
            raise
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as exc:
            detail = str(exc).partition(", could be")[0]
            raise ImageError("image_too_many_pixels", detail) from exc
        except UnidentifiedImageError as exc:
            raise ImageError("image_unidentified", f"not one of {', '.join(FORMATS)}") from exc
        except Exception as exc:  # Pillow's decoders raise half a dozen unrelated types.
            raise ImageError(_code_of(exc), f"{type(exc).__name__}: {exc}") from exc


@contextlib.contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Pillow's own limit, and no warning but that it is exceeded.

    Pillow allocates what the frames of a GIF claim as it opens it, before there is a size to look
    at; only its own check comes in time.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF or TIFF tags; pixels decide.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode(data: bytes, needed: Callable[[Size], Size]) -> tuple[Image.Image, Size]:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        if width < 1 or height < 1:
            raise ImageError("image_corrupt", f"a size of {width} x {height}")
        image.seek(0)
        # Pillow shrinks no other format, and some tell their orientation only once decoded.
        size = _reduce(image, needed) if isinstance(image, JpegImageFile) else None
        image.load()
        upright = _upright(image)
        return _to_rgb(upright), size or (upright.height, upright.width)


def _reduce(image: JpegImageFile, needed: Callable[[Size], Size]) -> Size:
    """Has it decoded smaller if that will do; the (height, width) of the whole upright image."""
    width, height = image.size
    size = (width, height) if _orientation(image) in _ON_ITS_SIDE else (height, width)
    least = needed(size)
    for scale in _SCALES:
        if all(n % scale == 0 and n // scale >= few for n, few in zip(size, least, strict=True)):
            image.draft(None, (width // scale, height // scale))
            break
    return size


def _orientation(image: Image.Image) -> int:
    try:
        tag: int = image.getexif().get(_ORIENTATION_TAG, 1)
        return tag if tag in _UPRIGHT else 1
    except Exception:  # Broken EXIF of any sort; the pixels are as good as without it.
        return 1


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        return Image.fromarray(_to_eight_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_eight_bits(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """values / 257, rounded, where values are 0..65535; what is beyond is clipped.

    In integers and in place: large images have little memory to spare. There are no ties, 257 being
    odd.
    """
    scaled = values.clip(0, 65535).astype(np.uint32)
    scaled += 128
    scaled //= 257
    return scaled.astype(np.uint8)


def _code_of(exc: Exception) -> str:
    # libjpeg's lack of memory is "broken data" by the time Pillow tells of it: image_corrupt.
    text = str(exc).lower()
    if isinstance(exc, MemoryError) or "out of memory" in text:
        return "image_too_much_memory"
    truncated = any(word in text for word in ("truncated", "not enough", "unexpected end"))
    return "image_truncated" if truncated else "image_corrupt"
