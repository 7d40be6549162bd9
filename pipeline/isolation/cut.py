"""What the child does with an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hired_core.canvas import LayoutError, Size
from hired_core.decode import ImageError, decode_image
from hired_core.partition import partition_image
from pipeline.isolation.protocol import CutSettings

Cut = tuple[Size, npt.NDArray[np.uint8]]


def cut(data: bytes, settings: CutSettings) -> Cut:
    """(height, width) of the upright image and its partitions, uint8 [P, 3, S, S].

    Raises:
        ImageError: if the image cannot be used.
    """
    image = decode_image(data, max_pixels=settings.limits.max_pixels)
    try:
        partitions = partition_image(
            image, pinpoints=settings.pinpoints, partition_size=settings.partition_size
        )
    except LayoutError as exc:
        raise ImageError("image_too_elongated", str(exc)) from exc
    return (image.height, image.width), partitions
