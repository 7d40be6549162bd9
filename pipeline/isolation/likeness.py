"""What a picture looks like, in 64 bits."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image

__all__ = ["perceptual_hash", "warm_up"]

_SIDE = 128
_LEAST_CONTRAST = 2.0
"""Standard deviation of grey values; of what is flatter than this the bits are noise."""


def perceptual_hash(image: Image.Image) -> int | None:
    """int64 of the 64 bits of `imagehash.phash`; None of a picture with nothing in it.

    The bits are signs of the lowest frequencies of the grey picture, squeezed to a square: other
    sizes, qualities and formats of one picture differ in few of them, and its colours in none.
    Large images are halved by averaging first, which takes a fifth of the time.
    """
    side = (min(_SIDE, image.width), min(_SIDE, image.height))
    small = image.resize(side, Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L")
    if np.asarray(small).std() < _LEAST_CONTRAST:
        return None
    bits = np.packbits(imagehash.phash(small).hash.ravel())
    return int.from_bytes(bits.tobytes(), "big", signed=True)


def warm_up() -> None:
    """Load all that is needed, now: with memory limited it might not load any more."""
    imagehash.phash(Image.new("L", (8, 8)))
