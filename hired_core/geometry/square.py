"""One square partition: the shorter side resized to it, the middle of the longer side cut out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hired_core.geometry.base import Pixels, Resize, SquarePartitions
from hired_core.geometry.canvas import LayoutError, Size

if TYPE_CHECKING:
    from hired_core.geometry.layout import PartitionLayout

MAX_ASPECT: Final = 100
"""Beyond, the resized image, of which a hundredth is kept, would be larger than most originals."""


@dataclass(frozen=True, kw_only=True)
class Square(SquarePartitions):
    """See `Geometry`; there is one partition, whose rows end without a mark."""

    def check(self, size: Size) -> None:
        if max(size) > MAX_ASPECT * min(size):
            raise LayoutError(
                f"an image of {size[0]} x {size[1]} pixels is over {MAX_ASPECT} times as long as "
                "it is wide"
            )

    def needed_size(self, size: Size) -> Size:
        """(height, width) with the shorter side a partition's; the longer is rounded down."""
        self.check(size)
        side, short = self.partition_size, min(size)
        height, width = (side if n == short else side * n // short for n in size)
        return height, width

    def cut(self, resize: Resize, size: Size) -> Pixels:
        height, width = self.needed_size(size)
        side = self.partition_size
        top, left = (height - side) // 2, (width - side) // 2
        content = resize((height, width))
        return np.ascontiguousarray(content[None, :, top : top + side, left : left + side])

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        from hired_core.geometry.layout import PartitionLayout

        self.check((height, width))
        return PartitionLayout.single(self.side)
