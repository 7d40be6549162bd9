"""Which way up an image is, by its EXIF, and turning it."""

from __future__ import annotations

from typing import Final

from PIL import Image

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
ON_ITS_SIDE: Final = (5, 6, 7, 8)


def orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF counts them; 1, upright, where nothing sensible is said."""
    try:
        tag: int = image.getexif().get(_ORIENTATION_TAG, 1)
        return tag if tag in _UPRIGHT else 1
    except Exception:  # Broken EXIF of any sort; the pixels are as good as without it.
        return 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image itself if it is."""
    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)
