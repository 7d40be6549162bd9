"""Values of more than 8 bits -> 8 bits, scaled by the range that they are of.

Cameras, scanners and microscopes store 10, 12 or 14 bits in a 16-bit type, and floats of any range:
scaled by what the type could hold they would be nearly black.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

GREY_MODES: Final = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
_TOPS: Final = tuple(2**bits - 1 for bits in (1, 8, 10, 12, 14, 16))
_OF_THE_TYPE: Final = _TOPS[-1]
_MOST_ROWS_AT_ONCE: Final = 256
_WIDE: Final = frozenset(
    f"{bands};16{order}" for bands in ("RGB", "RGBA", "RGBX") for order in "BLN"
)
_OTHER_BYTE: Final = {"B": "L", "L": "B", "N": "B"}  # this code knows little-endian machines only

Values = npt.NDArray[Any]


def grey_in_eight_bits(image: Image.Image) -> tuple[Image.Image, bool]:
    """Mode L of an image of one of GREY_MODES, and whether it was scaled by its own range.

    Integers from 0 to 65535 are taken to be of the least of 1, 8, 10, 12, 14 and 16 bits that holds
    the highest; others reach from their lowest to their highest. Floats are of 0..255 or of 0..1 if
    they keep within and go above the middle of it, and otherwise reach from their lowest to their
    highest. What is not finite has no say; NaN becomes black, infinities black and white.
    Rounded to the nearest; floats of 0..255 are cut off, as Pillow does it.
    """
    values = np.asarray(image)
    low, high = _range(values)
    whole = values.dtype.kind in "iu"
    bottom, top = _ends(low, high, whole=whole)
    out = np.empty(values.shape, np.uint8)
    for rows in _strips(len(values)):
        out[rows] = _scaled(values[rows], bottom, top)
    is_own = (bottom, top) != (0, _OF_THE_TYPE if whole else 255)
    return Image.fromarray(out), is_own and high > low


def is_wide(image: ImageFile) -> bool:
    """Whether this colour image, not yet loaded, has 16 bits a channel, of which Pillow keeps 8."""
    return image.mode in ("RGB", "RGBA") and _sixteen_bit_mode(image) is not None


def widened(loaded: Image.Image, unread: ImageFile) -> Image.Image | None:
    """8-bit colours scaled by their own range, as of `grey_in_eight_bits`; None if that is full.

    Args:
        loaded: as Pillow gives it, the high bytes.
        unread: the same image, to have its low bytes.
    """
    colours = loaded.getextrema()[:3]
    if max(high for _, high in colours) > _TOPS[-2] >> 8:  # type: ignore[misc]  # RGB: pairs.
        return None
    low = _low_bytes(unread)
    values = np.asarray(loaded).astype(np.uint16) << 8 | np.asarray(low)
    highest = int(values[..., :3].max())
    top = next(t for t in _TOPS if t >= highest)
    out = np.asarray(loaded).copy()
    # An alpha channel is of the colours' range if it keeps within it, else of the type's.
    bands = values.shape[-1] if int(values.max()) <= top else 3
    for rows in _strips(len(values)):
        out[rows, :, :bands] = _scaled(values[rows, :, :bands], 0, top)
    return Image.fromarray(out, loaded.mode) if highest else None


def _low_bytes(image: ImageFile) -> Image.Image:
    """By reading it in the other byte order: what Pillow takes for the high byte is the low one."""
    tile, mode = image.tile[0], _sixteen_bit_mode(image)
    assert mode is not None, "16 bits a channel"
    swapped = mode[:-1] + _OTHER_BYTE[mode[-1]]
    args = swapped if isinstance(tile.args, str) else (swapped, *(tile.args or ())[1:])
    image.tile = [each._replace(args=args) for each in image.tile]
    image.load()
    return image


def _sixteen_bit_mode(image: ImageFile) -> str | None:
    if not image.tile:
        return None
    args = image.tile[0].args
    mode = args if isinstance(args, str) else (args or ("",))[0]
    return mode if mode in _WIDE else None


def _range(values: Values) -> tuple[float, float]:
    """Of what is finite; (0, 0) where nothing is."""
    if values.dtype.kind in "iu":
        return int(values.min()), int(values.max())
    found = [part[np.isfinite(part)] for part in (values[rows] for rows in _strips(len(values)))]
    ends = [(float(part.min()), float(part.max())) for part in found if part.size]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0.0, 0.0)


def _ends(low: float, high: float, *, whole: bool) -> tuple[float, float]:
    """What becomes black and what becomes white."""
    if whole and low >= 0 and high <= _OF_THE_TYPE:
        return 0, next(top for top in _TOPS if top >= high)
    for top in () if whole else (1.0, 255.0):
        if low >= 0 and top / 2 < high <= top:
            return 0.0, top
    return low, high


def _scaled(values: Values, bottom: float, top: float) -> npt.NDArray[np.uint8]:
    if values.dtype.kind in "iu" and bottom == 0 and top in _TOPS:
        # In integers; no ties, all tops being odd.
        wide = values.clip(0, int(top)).astype(np.uint32)
        eight: npt.NDArray[np.uint8] = ((wide * 255 + int(top) // 2) // int(top)).astype(np.uint8)
        return eight
    if (bottom, top) == (0.0, 255.0):
        plain = np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0)
        cut_off: npt.NDArray[np.uint8] = plain.clip(0, 255).astype(np.uint8)
        return cut_off
    if top == bottom:
        return np.zeros(values.shape, np.uint8)
    share: npt.NDArray[np.float64] = (values.astype(np.float64) - bottom) / (top - bottom)
    share = np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0)
    nearest: npt.NDArray[np.uint8] = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
    return nearest


def _strips(height: int) -> Iterator[slice]:
    """A large image leaves little memory for its values in other types."""
    for start in range(0, height, _MOST_ROWS_AT_ONCE):
        yield slice(start, start + _MOST_ROWS_AT_ONCE)
