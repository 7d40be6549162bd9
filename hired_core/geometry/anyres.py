"""AnyRes: the whole image squeezed to a square, and a grid of squares cut from a padded canvas.

Of the resolutions on offer the one is taken that keeps most of the image and wastes least; on it
the image lies resized with its aspect ratio kept, centred on black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hired_core.geometry.base import Pixels, Resize, SquarePartitions
from hired_core.geometry.canvas import SHRINK_ABOVE, CanvasFit, Size, select_best_resolution

if TYPE_CHECKING:
    from hired_core.geometry.layout import PartitionLayout


@dataclass(frozen=True, kw_only=True)
class AnyRes(SquarePartitions):
    """See `Geometry`; the full-image comes first, then sub-images in raster order.

    Attributes:
        pinpoints: resolutions on offer, (height, width) in pixels.
        most_sub_images: above as many sub-images' tokens, and a tenth more along each side, the
            unmodified model resizes the stitched grid to so many; None: never.
    """

    pinpoints: tuple[Size, ...]
    most_sub_images: int | None = None

    @property
    def max_partitions(self) -> int:
        cells = self.partition_size**2
        return 1 + max(height * width // cells for height, width in self.pinpoints)

    @property
    def nominal_tokens(self) -> int:
        most = self.max_partitions * self.num_tokens
        if self.most_sub_images is None:
            return most
        grid = int(SHRINK_ABOVE**2 * self.most_sub_images * self.num_tokens)
        return min(most, self.num_tokens + grid)

    @property
    def resizes_tokens(self) -> bool:
        return self.most_sub_images is not None

    def max_row_ends(self, *, transposed_grid: bool = False) -> int:
        heights = [width if transposed_grid else height for height, width in self.pinpoints]
        return max(heights) // self.partition_size * self.side

    def check(self, size: Size) -> None:
        select_best_resolution(size, self.pinpoints)

    def needed_size(self, size: Size) -> Size:
        height, width = self._fit(size).content
        return max(height, self.partition_size), max(width, self.partition_size)

    def cut(self, resize: Resize, size: Size) -> Pixels:
        fit, side = self._fit(size), self.partition_size
        rows, cols = fit.canvas[0] // side, fit.canvas[1] // side
        partitions = np.zeros((1 + rows * cols, 3, side, side), np.uint8)
        partitions[0] = resize((side, side))
        content = resize(fit.content)
        for index, sub_image in enumerate(partitions[1:]):
            row, col = divmod(index, cols)
            _show_through(sub_image, content, row * side - fit.top, col * side - fit.left)
        return partitions

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        from hired_core.geometry.layout import PartitionLayout

        return PartitionLayout.from_image_size(
            height,
            width,
            pinpoints=self.pinpoints,
            partition_size=self.partition_size,
            patch_size=self.patch_size,
            merge=self.merge,
            most_sub_images=self.most_sub_images,
            transposed_grid=transposed_grid,
        )

    def _fit(self, size: Size) -> CanvasFit:
        return CanvasFit.of(size, select_best_resolution(size, self.pinpoints))


def _show_through(window: Pixels, content: Pixels, top: int, left: int) -> None:
    """Fills `window` with what lies under it, its corner being at (top, left) of the content."""
    size = window.shape[-1]
    seen = content[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)]
    down, right = max(-top, 0), max(-left, 0)
    window[:, down : down + seen.shape[1], right : right + seen.shape[2]] = seen
