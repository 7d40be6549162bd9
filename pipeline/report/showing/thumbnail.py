"""What the decoding child does for a page: an image made small, its shape kept."""

from __future__ import annotations

import numpy as np
from PIL import Image

from hired_core.geometry.canvas import Size
from hired_core.images.decode import decode_at_least
from pipeline.isolation.cut import Cut
from pipeline.isolation.protocol import CutSettings

__all__ = ["fitted", "shrink"]


def shrink(data: bytes, settings: CutSettings) -> Cut:
    """(height, width) of the upright image, and uint8 [1, 3, S, S] with it in the upper left, black
    elsewhere; `fitted` tells how large it is there.

    Raises:
        ImageError: if the image cannot be used.
    """
    side = settings.geometry.partition_size
    decoded = decode_at_least(
        data,
        lambda whole: fitted(whole, side),
        max_pixels=settings.limits.max_pixels,
        accept_truncated=True,  # What is there of it shows why it is in quarantine.
    )
    height, width = fitted(decoded.size, side)
    pixels = np.zeros((1, 3, side, side), np.uint8)
    small = decoded.image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
    pixels[0, :, :height, :width] = np.asarray(small).transpose(2, 0, 1)
    return Cut(decoded.size, pixels)


def fitted(size: Size, side: int) -> Size:
    """(height, width) of an image of `size`, made smaller until no side is over `side`; 1 or
    more."""
    scale = min(1.0, side / max(size))
    height, width = (max(1, round(length * scale)) for length in size)
    return height, width
