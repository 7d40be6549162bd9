"""RGB image -> uint8 partitions, as the model's own processor cuts them.

Normalising is left to the device that runs the vision tower: a 672 x 672 image travels as 1.7 MB of
uint8 instead of 6.8 MB of float32.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from hired_core.geometry.base import Geometry, Pixels, Resample
from hired_core.geometry.canvas import Size

_FILTERS: Final[dict[Resample, Image.Resampling]] = {
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def partition_image(
    image: Image.Image, geometry: Geometry, *, image_size: Size | None = None
) -> Pixels:
    """uint8 [P, 3, S, S]: `image`, resized by Pillow, as `geometry` cuts it.

    Equal to the PIL backend of the family's own transformers image processor before it rescales and
    normalises.

    Args:
        image_size: (height, width) that the cut is chosen for, where `image` is a smaller copy.

    Raises:
        LayoutError: if the image is too elongated for the model.
    """

    chosen = _FILTERS[geometry.resample]

    def resize(size: Size | None, of: Pixels | None = None) -> Pixels:
        source = image if of is None else Image.fromarray(of.transpose(1, 2, 0))
        found = source if size is None else source.resize((size[1], size[0]), chosen)
        return np.asarray(found).transpose(2, 0, 1)

    return geometry.cut(resize, image_size or (image.height, image.width))
