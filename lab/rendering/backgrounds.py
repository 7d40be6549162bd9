"""Backgrounds: greyish and low in contrast, so that content stands out but never against plain
white alone.

Each takes a generator and a size in pixels; some cost is saved by drawing small and enlarging.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["BACKGROUNDS"]

_Rng = np.random.Generator
_Floats = npt.NDArray[np.float64]


def _plain(rng: _Rng, width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), tuple(_tint(rng).astype(int).tolist()))


def _gradient(rng: _Rng, width: int, height: int) -> Image.Image:
    corners = _tint(rng) + rng.uniform(-45, 45, size=(2, 2, 1))
    return _enlarge(corners, width, height)


def _blotches(rng: _Rng, width: int, height: int) -> Image.Image:
    cells = rng.uniform(-16, 16, size=(height // 6 + 2, width // 6 + 2, 3))
    return _enlarge(_tint(rng) + cells, width, height)


def _stripes(rng: _Rng, width: int, height: int) -> Image.Image:
    along = np.arange(height // 2 + 1)[:, None, None] * rng.uniform(-1, 1)
    across = np.arange(width // 2 + 1)[None, :, None] * rng.uniform(-1, 1)
    wave = np.sin((along + across) * rng.uniform(0.15, 0.5))
    return _enlarge(_tint(rng) + rng.uniform(4, 14) * wave, width, height)


def _weave(rng: _Rng, width: int, height: int) -> Image.Image:
    along = np.sin(np.arange(height // 2 + 1) * rng.uniform(0.3, 0.8))[:, None, None]
    across = np.sin(np.arange(width // 2 + 1) * rng.uniform(0.3, 0.8))[None, :, None]
    return _enlarge(_tint(rng) + rng.uniform(4, 10) * along * across, width, height)


def _clouds(rng: _Rng, width: int, height: int) -> Image.Image:
    cells = rng.uniform(-30, 30, size=(4, 4, 1)) + rng.uniform(-6, 6, size=(4, 4, 3))
    return _enlarge(_tint(rng) + cells, width, height)


def _vignette(rng: _Rng, width: int, height: int) -> Image.Image:
    y, x = np.mgrid[-1:1:24j, -1:1:24j]
    centre = rng.uniform(-0.5, 0.5, size=2)
    distance = np.hypot(y - centre[0], x - centre[1])[..., None]
    return _enlarge(_tint(rng) - rng.uniform(10, 40) * distance, width, height)


def _grain(rng: _Rng, width: int, height: int) -> Image.Image:
    coarse = rng.uniform(-10, 10, size=(height // 24 + 2, width // 9 + 2, 1))
    return _enlarge(_tint(rng) + coarse, width, height)


def _tint(rng: _Rng) -> _Floats:
    """A grey with a little colour, `[3]`."""
    return rng.uniform(60, 235) + rng.uniform(-14, 14, size=3)


def _enlarge(pixels: _Floats, width: int, height: int) -> Image.Image:
    image = Image.fromarray(
        np.clip(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), 0, 255).astype(np.uint8)
    )
    return image.resize((width, height), Image.Resampling.BILINEAR)


BACKGROUNDS: dict[str, Callable[[_Rng, int, int], Image.Image]] = {
    "plain": _plain,
    "gradient": _gradient,
    "blotches": _blotches,
    "stripes": _stripes,
    "weave": _weave,
    "clouds": _clouds,
    "vignette": _vignette,
    "grain": _grain,
}
