"""Images to measure on: distinct, with structure, and a function of a seed.

Soft colours at several scales, sharp shapes on them and a little grain: JPEG takes as long over
them as over photographs, and attention has something to choose from.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

_SCALES = ((6, 1.0), (24, 0.5), (96, 0.25))
_NUM_SHAPES = 12


def make_images(
    count: int, *, width: int = 672, height: int = 672, seed: int = 0, quality: int = 90
) -> list[bytes]:
    """`count` JPEG files of `width` x `height` pixels, no two alike."""
    rng = np.random.default_rng(seed)
    return [_encode(_picture(rng, width, height), quality) for _ in range(count)]


def _picture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    image = Image.fromarray(_clouds(rng, width, height))
    draw = ImageDraw.Draw(image)
    for _ in range(_NUM_SHAPES):
        _draw_shape(draw, rng, width, height)
    pixels = np.asarray(image).astype(np.float32)
    pixels += rng.normal(0, 4, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _clouds(rng: np.random.Generator, width: int, height: int) -> npt.NDArray[np.uint8]:
    """uint8 [H, W, 3]: noise at several scales, smoothly enlarged."""
    total = np.zeros((height, width, 3), dtype=np.float32)
    for cells, weight in _SCALES:
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        enlarged = noise.resize((width, height), Image.Resampling.BICUBIC)
        total += weight * np.asarray(enlarged, dtype=np.float32)
    return (total / sum(weight for _, weight in _SCALES)).astype(np.uint8)


def _draw_shape(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int
) -> None:
    size = rng.integers(min(width, height) // 20, min(width, height) // 5)
    x, y = rng.integers(0, width - size), rng.integers(0, height - size)
    colour = tuple(int(value) for value in rng.integers(0, 256, 3))
    box = (int(x), int(y), int(x + size), int(y + size))
    (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=colour)


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
