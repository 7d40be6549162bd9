"""Images as people have them: a path, encoded bytes, a PIL image or an array."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hired_core.geometry.base import Geometry, Pixels
from hired_core.geometry.canvas import Size
from hired_core.images.decode import decode_image
from hired_core.images.partition import partition_image

ImageLike = str | Path | bytes | Image.Image | npt.NDArray[Any]
"""An array is uint8 [height, width, 3] (RGB) or [height, width] (grey)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CutImage:
    """An image as the vision half takes it.

    Attributes:
        partitions: uint8 [P, 3, S, S].
        size: (height, width) of the upright image in pixels.
        seed: int64, derived from the image's content.
    """

    partitions: Pixels
    size: Size
    seed: int


def cut_image(image: ImageLike, geometry: Geometry) -> CutImage:
    """Decoded if need be, and cut as a job does it by default.

    Raises:
        ImageError: if it cannot be used.
        LayoutError: if it is too elongated for the model.
        OSError: if there is no such file.
        TypeError: if it is none of the kinds above.
    """
    data = Path(image).read_bytes() if isinstance(image, str | Path) else image
    upright = decode_image(data) if isinstance(data, bytes) else _as_rgb(data)
    content = data if isinstance(data, bytes) else upright.tobytes()
    return CutImage(
        partitions=partition_image(upright, geometry),
        size=(upright.height, upright.width),
        seed=content_seed(hashlib.sha256(content).hexdigest()),
    )


def content_seed(sha256: str) -> int:
    """int64 from a hex digest: the same image has the same seed wherever it is stored."""
    return int.from_bytes(bytes.fromhex(sha256)[:8], "big", signed=True)


def _as_rgb(image: object) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and _is_picture(image):
        return Image.fromarray(image).convert("RGB")
    what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise TypeError(
        f"an image is a path, bytes, a PIL image or uint8 [height, width, 3], not {what}"
    )


def _is_picture(image: npt.NDArray[Any]) -> bool:
    return image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
