"""Bicubic resizing of each partition's grid of tokens to g x g: the plainest smaller grid.

A row is what `interpolate(mode="bicubic", align_corners=False)` makes of the visual tokens there,
behind the projector (or before it, by option): the 4 x 4 around its centre, whatever the factor. No
antialiasing: `average-pool` is the method that looks at all tokens of a cell, this one samples. g
is any side from 1 to n; how it is chosen, and what becomes of padding, is said in `grid.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hired_core.methods.grid import ResizeMethod, ResizeOptions, cubic


def sides(side: int, options: ResizeOptions) -> Sequence[int]:
    return range(1, side + 1)


METHOD: Final = ResizeMethod(along=cubic, sides=sides)
