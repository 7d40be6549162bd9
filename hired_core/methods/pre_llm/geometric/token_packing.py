"""Token packing by interpolation: bilinear resizing by powers of 1/sqrt(2) (arXiv:2603.23495).

The supplement of VISOR (section S9) packs visual tokens in two steps: bilinear resizing by
1/sqrt(2) along each axis, which halves their number, and space-to-depth, which stacks f x f
neighbours on channels. Stacked tokens are wider than the language model's and need a projection
trained for them. Without training only the first step is possible, and it is what this method does:
g = n 2^(-k/2), rounded to the nearest, for k = 0, 1, 2, ...: 24, 17, 12, 8, 6, 4, 3, 2, 1 of 24.
Deviation: k of any size instead of 1, in one step, as `interpolate(mode="bilinear",
align_corners=False)` does it. How k is chosen, and what becomes of padding, is said in `grid.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hired_core.methods.grid import ResizeMethod, ResizeOptions, linear


def sides(side: int, options: ResizeOptions) -> Sequence[int]:
    """n, n / sqrt(2), n / 2, ... down to 1, rounded to the nearest (halves up), ascending."""
    halvings = range(2 * side.bit_length() + 1)
    return sorted({max(1, int(side * 2 ** (-k / 2) + 0.5)) for k in halvings})


METHOD: Final = ResizeMethod(along=linear, sides=sides)
