"""Average pooling of each partition's tokens to g x g, as M3 does it untrained (arXiv:2405.17430).

A row is the mean of the visual tokens in its cell, taken behind the projector (or before it, by
option). Cells are those of `adaptive_avg_pool2d`: row r of g covers patch rows floor(r n / g) to
ceil((r + 1) n / g). Padding is left out of the mean; a cell of nothing else gives no row. g is the
largest at which the image has no more rows than its budget, so that counts are quantised, never
exceeded. With fewer tokens than partitions, the full-image alone is pooled.

By option g is one of M3's nested sides (section 3.1): S in {1, 9, 36, 144, 576} tokens of 24 x 24,
poolings of 24, 8, 4, 2 and 1, each row a mean of whole rows of the next. For another side n they
are n, n/2, n/4, n/8 as far as these are whole, and 1: 12, 6, 3, 1 of 12. Deviation: the weights are
not trained for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hired_core.methods.grid import ResizeMethod, ResizeOptions, box


@dataclass(frozen=True, kw_only=True)
class AveragePoolOptions(ResizeOptions):
    """Of `average-pool`.

    Attributes:
        nested: only M3's sides.
    """

    nested: bool = False


def sides(side: int, options: AveragePoolOptions) -> Sequence[int]:
    """Cells along a side that are on offer, ascending."""
    if not options.nested:
        return range(1, side + 1)
    return sorted({1} | {side // part for part in (1, 2, 4, 8) if side % part == 0})


METHOD: Final = ResizeMethod(along=box, sides=sides, options=AveragePoolOptions)
