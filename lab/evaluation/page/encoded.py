"""Numbers as text that a page can carry: pictures as data URIs, masks as hexadecimal digits."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from hired_core.geometry.base import Pixels
from lab.evaluation.page.trace import Bools, Floats

__all__ = ["heat_colours", "heat_uri", "hex_bits", "partition_uri"]

_QUALITY: Final = 88

# Dark to bright, so that it also reads in grey: five stops of matplotlib's "inferno" (CC0).
_STOPS: Final = np.array(
    [(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float64
)


def partition_uri(pixels: Pixels) -> str:
    """A partition, uint8 [3, S, S], as WebP."""
    return _uri(Image.fromarray(pixels.transpose(1, 2, 0)), "webp", quality=_QUALITY, method=4)


def heat_uri(attention: Floats, side: int) -> str:
    """CLS attention of one partition, float64 [N], as a PNG of one pixel per patch."""
    return _uri(Image.fromarray(heat_colours(attention).reshape(side, side, 3)), "png")


def heat_colours(attention: Floats) -> npt.NDArray[np.uint8]:
    """uint8 [N, 3]: square roots of attention from dark (0) to bright (the largest of the N).

    Square roots, because a few patches often hold most of the attention.
    """
    largest = attention.max(initial=0)
    level = np.sqrt(np.clip(attention / largest, 0, 1)) if largest > 0 else np.zeros_like(attention)
    places = np.linspace(0, 1, len(_STOPS))
    channels = [np.interp(level, places, _STOPS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def hex_bits(mask: Bools) -> str:
    """A mask [N] as hexadecimal digits, four patches each, the first one the highest bit."""
    padded = np.pad(mask.astype(np.uint8), (0, -len(mask) % 4)).reshape(-1, 4)
    return "".join(f"{digit:x}" for digit in padded @ [8, 4, 2, 1])


def _uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
