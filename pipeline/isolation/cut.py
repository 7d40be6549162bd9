"""What the child does with an image."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from hired_core.geometry.canvas import LayoutError, Size
from hired_core.images.decode import ImageError, decode_at_least
from hired_core.images.partition import partition_image
from pipeline.isolation.protocol import CutSettings


class Cut(NamedTuple):
    """(height, width) of the upright image, its partitions, notes on it, and its hash if asked."""

    size: Size
    pixels: npt.NDArray[np.uint8]
    notes: tuple[str, ...] = ()
    phash: int | None = None


def cut(data: bytes, settings: CutSettings) -> Cut:
    """(height, width) of the upright image, its partitions, uint8 [P, 3, S, S], and notes on it.

    Under `resize` "fast", where the parent cuts, its pixels instead: uint8 [height, width, 3], or
    fewer if they are decoded reduced.

    Raises:
        ImageError: if the image cannot be used.
    """
    limits = settings.limits
    decoded = decode_at_least(
        data,
        partial(_needed, settings),
        max_pixels=limits.max_pixels,
        accept_truncated=limits.truncated == "accept",
    )
    try:
        pixels = _pixels(decoded.image, decoded.size, settings)
        return Cut(decoded.size, pixels, decoded.notes, _phash(decoded.image, settings))
    except LayoutError as exc:
        raise ImageError("image_too_elongated", str(exc)) from exc


def _needed(settings: CutSettings, size: Size) -> Size:
    if not settings.options.reduced_decode:
        return size
    try:
        return settings.geometry.needed_size(size)
    except LayoutError:
        return size  # To be refused for it once decoded, unless damage is found first.


def _pixels(image: Image.Image, size: Size, settings: CutSettings) -> npt.NDArray[np.uint8]:
    if settings.options.resize == "fast":
        settings.geometry.check(size)  # The parent takes no other.
        return np.asarray(image)
    return partition_image(image, settings.geometry, image_size=size)


def _phash(image: Image.Image, settings: CutSettings) -> int | None:
    if not settings.phash:
        return None
    from pipeline.isolation.likeness import perceptual_hash  # scipy: half a second to load.

    return perceptual_hash(image)
