"""RGB image -> uint8 partitions, as LLaVA-Next's own processor cuts them.

Normalising is left to the device that runs the vision tower: a 672 x 672 image travels as 1.7 MB of
uint8 instead of 6.8 MB of float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from hired_core.canvas import CanvasFit, Size, select_best_resolution

_BICUBIC = Image.Resampling.BICUBIC


def partition_image(
    image: Image.Image, *, pinpoints: Sequence[Size], partition_size: int
) -> npt.NDArray[np.uint8]:
    """uint8 [P, 3, S, S]: the squeezed full-image, then the sub-images in raster order.

    Sub-images are cut from a canvas on which the image lies resized with its aspect ratio kept,
    centred on black. Equal to the PIL backend of transformers' `LlavaNextImageProcessor` before it
    rescales and normalises.

    Raises:
        LayoutError: if the image is too elongated for every pinpoint.
    """
    canvas_size = select_best_resolution((image.height, image.width), pinpoints)
    fit = CanvasFit.of((image.height, image.width), canvas_size)
    canvas = Image.new("RGB", (fit.canvas[1], fit.canvas[0]))
    canvas.paste(image.resize((fit.content[1], fit.content[0]), _BICUBIC), (fit.left, fit.top))
    full = np.asarray(image.resize((partition_size, partition_size), _BICUBIC))
    sub_images = _cut(np.asarray(canvas), partition_size)
    partitions = np.concatenate([full[None], sub_images])
    return np.ascontiguousarray(partitions.transpose(0, 3, 1, 2))


def _cut(canvas: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """[rows*S, cols*S, 3] -> [rows*cols, S, S, 3]."""
    rows, cols = canvas.shape[0] // size, canvas.shape[1] // size
    cells = canvas.reshape(rows, size, cols, size, 3).swapaxes(1, 2)
    return cells.reshape(rows * cols, size, size, 3)
