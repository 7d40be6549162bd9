"""Tiles by aspect ratio: the image squeezed on the grid that is most like it, and a thumbnail.

Of all grids with so many tiles that one is taken whose ratio of sides is nearest to the image's;
the image is resized to it without padding. Where there are several tiles, the whole image squeezed
to one comes last.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from hired_core.geometry.base import Pixels, Resize, SquarePartitions
from hired_core.geometry.canvas import Size

if TYPE_CHECKING:
    from hired_core.geometry.layout import PartitionLayout

OPEN, CLOSE = 0, 1
"""Separators around an image."""


@dataclass(frozen=True, kw_only=True)
class AspectTiles(SquarePartitions):
    """See `Geometry`; the thumbnail is the full-image, first of the partitions.

    Attributes:
        min_tiles, max_tiles: of a grid.
    """

    min_tiles: int = 1
    max_tiles: int = 12

    @property
    def max_partitions(self) -> int:
        return self.max_tiles + (self.max_tiles > 1)

    def max_marks(self, num_kept: int) -> int:
        return 2

    def check(self, size: Size) -> None:
        """Every image can be squeezed on some grid."""

    def needed_size(self, size: Size) -> Size:
        rows, cols = self.grid(size)
        return rows * self.partition_size, cols * self.partition_size

    def cut(self, resize: Resize, size: Size) -> Pixels:
        side = self.partition_size
        return cut_tiles(resize((side, side)), resize(self.needed_size(size)))

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        return _layout(self.grid((height, width)), self)

    def grid(self, size: Size) -> Size:
        """(rows, cols). On a tie more tiles, while the image has more than half their pixels."""
        return _best_grid(size, self.partition_size, self.min_tiles, self.max_tiles)


def cut_tiles(full_image: Pixels, canvas: Pixels) -> Pixels:
    """uint8 [P, 3, S, S]: the full-image, then the canvas's tiles in raster order if several."""
    side = full_image.shape[-1]
    rows, cols = canvas.shape[1] // side, canvas.shape[2] // side
    if rows * cols == 1:
        return np.ascontiguousarray(full_image[None])
    tiles = canvas.reshape(3, rows, side, cols, side).transpose(1, 3, 0, 2, 4)
    return np.concatenate([full_image[None], tiles.reshape(rows * cols, 3, side, side)])


@lru_cache(maxsize=4096)
def _best_grid(size: Size, side: int, fewest: int, most: int) -> Size:
    (height, width), best, difference = size, (1, 1), float("inf")
    for cols, rows in _grids(fewest, most):
        apart = abs(width / height - cols / rows)
        enough = height * width > 0.5 * side * side * cols * rows
        if apart < difference or (apart == difference and enough):
            best, difference = (rows, cols), apart
    return best


@lru_cache(maxsize=16)
def _grids(fewest: int, most: int) -> list[Size]:
    """(cols, rows), fewer tiles first."""
    counts = range(1, most + 1)
    grids = [(cols, rows) for cols in counts for rows in counts if fewest <= cols * rows <= most]
    return sorted(grids, key=lambda grid: grid[0] * grid[1])


@lru_cache(maxsize=256)
def _layout(grid: Size, geometry: AspectTiles) -> PartitionLayout:
    from hired_core.geometry.layout import PartitionLayout
    from hired_core.geometry.marks import MarksBuilder
    from hired_core.geometry.stitching import Cell

    cell = Cell(size=geometry.partition_size, token=geometry.patch_size * geometry.merge)
    layout = PartitionLayout.tiles(grid, cell)
    marks = MarksBuilder(layout.num_partitions)
    marks.add(0, [OPEN])
    marks.add(layout.place.numel(), [CLOSE])
    return PartitionLayout.tiles(grid, cell, marks.build())
