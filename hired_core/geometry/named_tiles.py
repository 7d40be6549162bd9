"""Tiles with their names between them: the longest side resized, then both to whole tiles.

Each of the two resizes works on what came of the one before; so does the squeezed full-image, which
comes last. Before every tile stands where it is (row and column), behind every row of tiles a line
ends. Of a tile that kept no token nothing is said, and of a row without one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hired_core.geometry.aspect_tiles import cut_tiles
from hired_core.geometry.base import Pixels, Resample, Resize, SquarePartitions
from hired_core.geometry.canvas import Size

if TYPE_CHECKING:
    from hired_core.geometry.layout import PartitionLayout
    from hired_core.geometry.marks import MarksBuilder

LONGEST: Final = 4096
"""No side is resized to more, whatever was asked for."""

AROUND, WHOLE, LINE, EMPTY_LINE, FIRST_TILE = range(5)
"""Separators: around what is visual; the full-image's name; one line end, and two where they are
one token; names of tiles by rows."""


@dataclass(frozen=True, kw_only=True)
class NamedTiles(SquarePartitions):
    """See `Geometry`; the full-image is the first of the partitions.

    Attributes:
        longest: pixels of an image's longer side.
        lines_join: whether two line ends are one token.
    """

    longest: int
    lines_join: bool

    @property
    def max_along(self) -> int:
        """Tiles along a side, at most."""
        return math.ceil((self.longest + self.longest % 2) / self.partition_size)

    @property
    def max_partitions(self) -> int:
        tiles = self.max_along**2
        return tiles + (tiles > 1)

    @property
    def resample(self) -> Resample:
        return "lanczos"

    def max_marks(self, num_kept: int) -> int:
        tiles = min(num_kept, self.max_along**2)
        return 2 * tiles + min(self.max_along, tiles) + 4

    def check(self, size: Size) -> None:
        """Every image can be cut."""

    def needed_size(self, size: Size) -> Size:
        """What it is resized to first."""
        return _below(_longest_side(size, self.longest), LONGEST)

    def canvas(self, size: Size) -> Size:
        """(height, width) in pixels of the whole tiles together."""
        height, width = self.needed_size(size)
        ratio, side = width / height, self.partition_size
        if width >= height:
            width = math.ceil(width / side) * side
            return math.ceil(int(width / ratio) / side) * side, width
        height = math.ceil(height / side) * side
        return height, math.ceil(int(height * ratio) / side) * side

    def cut(self, resize: Resize, size: Size) -> Pixels:
        canvas = resize(self.canvas(size), of=resize(self.needed_size(size)))
        side = self.partition_size
        whole = canvas.shape[1:] == (side, side)
        return cut_tiles(canvas if whole else resize((side, side), of=canvas), canvas)

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        rows, cols = (pixels // self.partition_size for pixels in self.canvas((height, width)))
        return _layout((rows, cols), self)


def _longest_side(size: Size, longest: int) -> Size:
    """The longer side as asked for, the other rounded down, then up to an even number."""
    height, width = size
    ratio = width / height
    if width >= height:
        short = int(longest / ratio)
        return max(short + short % 2, 1), longest
    short = int(longest * ratio)
    return longest, max(short + short % 2, 1)


def _below(size: Size, most: int) -> Size:
    height, width = size
    ratio = width / height
    if width >= height and width > most:
        height, width = int(most / ratio), most
    elif height > width and height > most:
        height, width = most, int(most * ratio)
    return max(height, 1), max(width, 1)


@lru_cache(maxsize=256)
def _layout(grid: Size, geometry: NamedTiles) -> PartitionLayout:
    from hired_core.geometry.layout import PartitionLayout
    from hired_core.geometry.marks import MarksBuilder
    from hired_core.geometry.stitching import Cell

    cell = Cell(size=geometry.partition_size, token=geometry.patch_size * geometry.merge)
    layout = PartitionLayout.tiles(grid, cell)
    marks, count = MarksBuilder(layout.num_partitions), layout.num_tokens
    tiles = list(range(1, layout.num_partitions))
    rows, cols = layout.grid
    for row in range(rows):
        own = tiles[row * cols : (row + 1) * cols]
        for tile in own:
            name = FIRST_TILE + row * geometry.max_along + (tile - 1) % cols
            marks.add((tile - 1) * count, [AROUND, name], needs=[tile])
        _add_line_ends(marks, own, tiles, own[-1] * count, joined=geometry.lines_join)
    whole = len(tiles) * count
    if tiles and not geometry.lines_join:
        marks.add(whole, [LINE], needs=[0], also=tiles)
    marks.add(whole, [AROUND, WHOLE], needs=[0])
    marks.add(whole + count, [AROUND])
    return PartitionLayout.tiles(grid, cell, marks.build())


def _add_line_ends(
    marks: MarksBuilder, row: list[int], tiles: list[int], before: int, *, joined: bool
) -> None:
    """Behind a row of tiles; behind the last one that is there, before the full-image, two."""
    if not joined:
        marks.add(before, [LINE], needs=row)
        return
    later = tiles[row[-1] :]
    marks.add(before, [LINE], needs=row, also=later)
    marks.add(before, [EMPTY_LINE], needs=row, also=[0], unless=later)
    marks.add(before, [LINE], needs=row, unless=[*later, 0])
