"""How an image is laid on a canvas of sub-images: which resolution, where, how much padding.

Plain arithmetic in pixels, without torch: a process that only decodes and cuts starts in a fraction
of the time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Size = tuple[int, int]
"""(height, width), in pixels or patches; never swapped."""


SHRINK_ABOVE: Final = 1.1
"""How much longer along a side than its limit a grid of tokens has to be to be resized."""


class LayoutError(ValueError):
    """The image is too elongated for every resolution on offer."""


def select_best_resolution(image_size: Size, pinpoints: Sequence[Size]) -> Size:
    """The (height, width) among `pinpoints` that keeps most of the image and wastes least.

    Same rule as LLaVA-Next: most effective pixels first, then least wasted; the first wins ties.
    An image that keeps no pixel on any resolution, which transformers would go on with, is refused.

    Raises:
        LayoutError: if the image shrinks to nothing on every resolution.
    """
    height, width = image_size
    best: Size | None = None
    best_key = (0, 0)
    for canvas_height, canvas_width in pinpoints:
        scale = min(canvas_width / width, canvas_height / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        key = (kept, kept - canvas_height * canvas_width)
        if kept > 0 and (best is None or key > best_key):
            best, best_key = (canvas_height, canvas_width), key
    if best is None:
        raise LayoutError(f"an image of {height} x {width} pixels shrinks to nothing on every grid")
    return best


@dataclass(frozen=True, kw_only=True)
class CanvasFit:
    """An image resized with its aspect ratio kept and centred on a canvas; pixels.

    `top` and `left` are the padding before the content; any odd pixel of padding comes after it.
    """

    canvas: Size
    content: Size
    top: int
    left: int

    @classmethod
    def of(cls, image_size: Size, canvas: Size) -> CanvasFit:
        (height, width), (canvas_height, canvas_width) = image_size, canvas
        scale_h, scale_w = canvas_height / height, canvas_width / width
        if scale_w < scale_h:
            content = (min(math.ceil(height * scale_w), canvas_height), canvas_width)
        else:
            content = (canvas_height, min(math.ceil(width * scale_h), canvas_width))
        top, left = (canvas_height - content[0]) // 2, (canvas_width - content[1]) // 2
        return cls(canvas=canvas, content=content, top=top, left=left)
