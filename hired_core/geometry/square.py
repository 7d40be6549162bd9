"""One square partition: the middle of the image, or all of it in a padded square.

Cropped, the shorter side is resized to the partition and the middle of the longer side cut out.
Padded, the image lies in the middle of a square of its longer side, which is resized.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hired_core.geometry.base import Pixels, Resize, SquarePartitions
from hired_core.geometry.canvas import LayoutError, Size

if TYPE_CHECKING:
    from hired_core.geometry.layout import PartitionLayout

Colour = tuple[int, int, int]

MAX_ASPECT: Final = 100
"""Beyond, a resized image, of which a hundredth is kept, would be larger than most originals; of a
padded one three pixels would be seen."""

_BAND_PIXELS: Final = 2**22
"""Of padded rows that are resized at once."""


@dataclass(frozen=True, kw_only=True)
class Square(SquarePartitions):
    """See `Geometry`; there is one partition, whose rows end without a mark.

    Attributes:
        pad: colour of the padding. None: images are cropped.
    """

    pad: Colour | None = None

    def check(self, size: Size) -> None:
        if max(size) > MAX_ASPECT * min(size):
            raise LayoutError(
                f"an image of {size[0]} x {size[1]} pixels is over {MAX_ASPECT} times as long as "
                "it is wide"
            )

    def needed_size(self, size: Size) -> Size:
        """(height, width) with the shorter side a partition's, or of a padded image the longer
        side; the other is rounded down."""
        self.check(size)
        whole = min(size) if self.pad is None else max(size)
        side = self.partition_size
        height, width = (side if n == whole else max(side * n // whole, 1) for n in size)
        return height, width

    def cut(self, resize: Resize, size: Size) -> Pixels:
        height, width = self.needed_size(size)
        if self.pad is not None:
            return np.ascontiguousarray(_squeezed(resize, self.pad, self.partition_size)[None])
        side = self.partition_size
        top, left = (height - side) // 2, (width - side) // 2
        content = resize((height, width))
        return np.ascontiguousarray(content[None, :, top : top + side, left : left + side])

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        from hired_core.geometry.layout import PartitionLayout
        from hired_core.geometry.stitching import Cell

        self.check((height, width))
        if self.pad is None:
            return PartitionLayout.single(self.side)
        cell = Cell(size=self.partition_size, token=self.patch_size * self.merge)
        return PartitionLayout.squared((height, width), cell)


def _squeezed(resize: Resize, colour: Colour, side: int) -> Pixels:
    """uint8 [3, side, side] of the padded square, bit for bit.

    Pixels are resized along rows first, which leaves rows of padding as they are: the square, which
    may be a hundred times the image, is never made.
    """
    content = resize(None)
    height, width = content.shape[1:]
    if width >= height:
        rows = resize((height, side))
    else:
        step = max(1, _BAND_PIXELS // height)
        bands = [content[:, top : top + step] for top in range(0, height, step)]
        padded = (_centred(band, colour, height, axis=2) for band in bands)
        rows = np.concatenate([resize((band.shape[1], side), of=band) for band in padded], axis=1)
    return resize((side, side), of=_centred(rows, colour, max(height, width), axis=1))


def _centred(pixels: Pixels, colour: Colour, length: int, *, axis: int) -> Pixels:
    """`pixels` [3, height, width] with padding before and behind, `length` long along an axis; an
    odd pixel of padding comes behind."""
    shape = list(pixels.shape)
    before, own, shape[axis] = (length - shape[axis]) // 2, shape[axis], length
    found = np.empty(shape, np.uint8)
    found[:] = np.array(colour, np.uint8)[:, None, None]
    inside = [slice(None), slice(None), slice(None)]
    inside[axis] = slice(before, before + own)
    found[tuple(inside)] = pixels
    return found
