"""Sizes on the canvas: what the AnyRes processor of the embedded model makes of an image.

All lengths of a picture are canvas pixels of its content region: the image after the AnyRes
resize, before padding. Content is therefore as legible in a sub-image whatever the size of the
image file.
"""

from __future__ import annotations

import math

__all__ = ["CANVASES", "PARTITION_SIZE", "best_canvas", "content_size"]

PARTITION_SIZE = 168
# (height, width): the five grids of LLaVA-Next at 168 instead of 336 pixels.
CANVASES = ((168, 336), (336, 168), (336, 336), (504, 168), (168, 504))


def best_canvas(width: int, height: int) -> tuple[int, int]:
    """The (height, width) canvas LLaVA-Next picks: most effective, then least wasted pixels."""
    best, best_key = CANVASES[0], (-1, 0)
    for canvas_h, canvas_w in CANVASES:
        scale = min(canvas_w / width, canvas_h / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        key = (effective, effective - canvas_h * canvas_w)
        if key > best_key:
            best, best_key = (canvas_h, canvas_w), key
    return best


def content_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the image on its canvas, before padding, in pixels."""
    canvas_h, canvas_w = best_canvas(width, height)
    scale_w, scale_h = canvas_w / width, canvas_h / height
    if scale_w < scale_h:
        return canvas_w, min(math.ceil(height * scale_w), canvas_h)
    return min(math.ceil(width * scale_h), canvas_w), canvas_h
