"""Native resolution: one grid of patches in the image's own shape, and a virtual grid of cells.

An image is resized to whole visual tokens (r x r patches each) with its aspect ratio nearly kept,
within least and most pixels; nothing is padded or cropped, and the tower sees it as one sequence.
Where methods speak of partitions, cells stand for them: the grid of tokens is divided into as few
rows and columns of cells as leave none with more than `CELL` tokens along a side, sizes as even as
whole tokens allow. The first partition, elsewhere the full-image, has no tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hired_core.geometry.base import Pixels, Resample, Resize
from hired_core.geometry.canvas import LayoutError, Size

if TYPE_CHECKING:
    from hired_core.geometry.layout import PartitionLayout

CELL: Final = 12
"""Visual tokens along a side of a cell at the most: 336 pixels at 28 to a token, a sub-image of the
paper's models."""

PLANNED_ASPECT: Final = 4
MAX_ASPECT: Final = 200
"""Beyond, transformers' image processor refuses an image as well."""


@dataclass(frozen=True, kw_only=True)
class Native:
    """See `Geometry`.

    Attributes:
        merge: r, patches along a side of a visual token.
        min_pixels, max_pixels: that an image is resized to; very long ones may have more.
    """

    patch_size: int
    merge: int
    min_pixels: int
    max_pixels: int

    @property
    def partition_size(self) -> int:
        """Of a cell, in pixels."""
        return CELL * self.token_size

    @property
    def token_size(self) -> int:
        """Of a visual token, in pixels."""
        return self.patch_size * self.merge

    @property
    def num_patches(self) -> int:
        """Of a cell."""
        return (CELL * self.merge) ** 2

    @property
    def num_tokens(self) -> int:
        """N, of a cell."""
        return CELL * CELL

    @property
    def resizes_tokens(self) -> bool:
        return False

    @property
    def resample(self) -> Resample:
        return "bicubic"

    @property
    def summary(self) -> str:
        side, r = self.token_size, self.merge
        patches = f", {r} x {r} patches" if r > 1 else ""
        seen = f"images are seen at {self.min_pixels:,} to {self.max_pixels:,}"
        return f"a visual token is {side} x {side} pixels{patches}, {seen}"

    @property
    def piece_size(self) -> int:
        """The tower is given patches."""
        return self.patch_size

    @property
    def max_pieces(self) -> int:
        return self.nominal_tokens * self.merge**2

    @property
    def nominal_tokens(self) -> int:
        """Of `max_pixels`; more where images that are long, or enlarged, come out with more."""
        area = self.token_size**2
        most, least = self.max_pixels / area, self.min_pixels / area
        # One token across; and both sides rounded up: (a + 1)(b + 1) with a b = least.
        long, short = math.sqrt(MAX_ASPECT * least), math.sqrt(least / MAX_ASPECT)
        enlarged = math.ceil(least + long + short + 1)
        return max(1, int(most), int(math.sqrt(MAX_ASPECT * most)), enlarged)

    @property
    def max_partitions(self) -> int:
        """(a + 1)(b + 1) cells are more than any a x b of whole ones is rounded up to."""
        most, side = self.nominal_tokens, self.max_side
        cells = most / CELL**2 + (side + most / side) / CELL + 1
        return 1 + min(math.ceil(cells), most)

    @property
    def max_places(self) -> int:
        """Of images up to `PLANNED_ASPECT` times as long as wide.

        Longer ones are mostly padding; what memory they lack costs them alone.
        """
        most = self.nominal_tokens
        cells = max(
            -(-rows // CELL) * -(-min(most // rows, PLANNED_ASPECT * rows) // CELL)
            for rows in range(1, math.isqrt(most) + 1)
        )
        return (1 + cells) * self.num_tokens

    @property
    def max_encoded(self) -> int:
        return self.max_pieces

    @property
    def max_side(self) -> int:
        """Visual tokens along the longer side of any image."""
        return min(self.nominal_tokens, math.ceil(math.sqrt(MAX_ASPECT * self.nominal_tokens)) + 1)

    def max_row_ends(self, *, transposed_grid: bool = False) -> int:
        return 0

    def max_marks(self, num_kept: int) -> int:
        return 0

    def check(self, size: Size) -> None:
        if max(size) > MAX_ASPECT * min(size):
            raise LayoutError(
                f"an image of {size[0]} x {size[1]} pixels is over {MAX_ASPECT} times as long as "
                "it is wide"
            )

    def needed_size(self, size: Size) -> Size:
        """(height, width) that it is resized to, in transformers' own arithmetic."""
        self.check(size)
        (height, width), factor = size, self.token_size
        rows, cols = round(height / factor), round(width / factor)
        if rows * cols * factor**2 > self.max_pixels:
            scale = math.sqrt(height * width / self.max_pixels)
            rows, cols = (max(1, math.floor(n / scale / factor)) for n in size)
        elif rows * cols * factor**2 < self.min_pixels:
            scale = math.sqrt(self.min_pixels / (height * width))
            rows, cols = (math.ceil(n * scale / factor) for n in size)
        return rows * factor, cols * factor

    def token_grid(self, size: Size) -> Size:
        """(rows, cols) of visual tokens."""
        height, width = self.needed_size(size)
        return height // self.token_size, width // self.token_size

    def num_pieces(self, size: Size) -> int:
        rows, cols = self.token_grid(size)
        return rows * cols * self.merge**2

    def cut(self, resize: Resize, size: Size) -> Pixels:
        """uint8 [h w r r, 3, patch, patch]: token by token in raster order, patches likewise."""
        rows, cols = self.token_grid(size)
        content, r, patch = resize(self.needed_size(size)), self.merge, self.patch_size
        split = content.reshape(3, rows, r, patch, cols, r, patch)
        ordered = split.transpose(1, 4, 2, 5, 0, 3, 6)
        return np.ascontiguousarray(ordered).reshape(-1, 3, patch, patch)

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        from hired_core.geometry.cells import cell_layout

        return cell_layout(self.token_grid((height, width)), CELL)


def uncut(pieces: Pixels, tokens: Size) -> Pixels:
    """uint8 [3, height, width]: the resized image back from what `Native.cut` makes of it.

    Args:
        tokens: (rows, cols) of visual tokens.
    """
    (rows, cols), patch = tokens, pieces.shape[-1]
    r = math.isqrt(len(pieces) // (rows * cols))
    split = pieces.reshape(rows, cols, r, r, 3, patch, patch).transpose(4, 0, 2, 5, 1, 3, 6)
    return np.ascontiguousarray(split).reshape(3, rows * r * patch, cols * r * patch)
