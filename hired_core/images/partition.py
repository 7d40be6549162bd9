"""RGB image -> uint8 partitions, as LLaVA-Next's own processor cuts them.

Normalising is left to the device that runs the vision tower: a 672 x 672 image travels as 1.7 MB of
uint8 instead of 6.8 MB of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from hired_core.geometry.canvas import CanvasFit, Size, select_best_resolution

Pixels = npt.NDArray[np.uint8]

_BICUBIC = Image.Resampling.BICUBIC


def partition_image(
    image: Image.Image,
    *,
    pinpoints: Sequence[Size],
    partition_size: int,
    image_size: Size | None = None,
) -> Pixels:
    """uint8 [P, 3, S, S]: the squeezed full-image, then the sub-images in raster order.

    Sub-images are cut from a canvas on which the image lies resized with its aspect ratio kept,
    centred on black. Equal to the PIL backend of transformers' `LlavaNextImageProcessor` before it
    rescales and normalises.

    Args:
        image_size: (height, width) that the canvas is chosen for, where `image` is a smaller copy.

    Raises:
        LayoutError: if the image is too elongated for every pinpoint.
    """

    def resize(size: Size) -> Pixels:
        return np.asarray(image.resize((size[1], size[0]), _BICUBIC)).transpose(2, 0, 1)

    return assemble(resize, image_size or (image.height, image.width), pinpoints, partition_size)


def assemble(
    resize: Callable[[Size], Pixels],
    image_size: Size,
    pinpoints: Sequence[Size],
    partition_size: int,
) -> Pixels:
    """The partitions of an image that `resize` gives in any (height, width), as [3, h, w]."""
    fit = CanvasFit.of(image_size, select_best_resolution(image_size, pinpoints))
    rows, cols = fit.canvas[0] // partition_size, fit.canvas[1] // partition_size
    partitions = np.zeros((1 + rows * cols, 3, partition_size, partition_size), np.uint8)
    partitions[0] = resize((partition_size, partition_size))
    content = resize(fit.content)
    for index, sub_image in enumerate(partitions[1:]):
        row, col = divmod(index, cols)
        top, left = row * partition_size - fit.top, col * partition_size - fit.left
        _show_through(sub_image, content, top, left)
    return partitions


def _show_through(window: Pixels, content: Pixels, top: int, left: int) -> None:
    """Fills `window` with what lies under it, its corner being at (top, left) of the content."""
    size = window.shape[-1]
    seen = content[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)]
    down, right = max(-top, 0), max(-left, 0)
    window[:, down : down + seen.shape[1], right : right + seen.shape[2]] = seen
