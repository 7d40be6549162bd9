"""Each partition's tokens resized to g x g: what methods share that know a token's place alone.

Resizing is separable: row (r, c) of the smaller grid weighs patch (i, j) by `w[r, i] w[c, j]`.
Padding takes no part, the weights of the rest are renormalised to a sum of 1; a row whose cell
holds nothing else is none. g is the largest of the sides on offer at which the image has no more
rows than its budget, so that counts are quantised, never exceeded; with fewer tokens than
partitions, the full-image alone is resized. Legend: B images, P partitions, N = n x n patches,
K rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from hired_core.methods.base import Evidence, Method, Needs, Reduction

Along = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""(g int64 [B], n) -> weights float64 [B, n, n] of patch i in row r, zero for r >= g, and its cell,
bool [B, n, n]: the patches of which one has to be valid."""

Sides = Callable[[int, Any], Sequence[int]]
"""(n, options) -> the sides g on offer, ascending; 1 is among them."""

_CUBIC: Final = -0.75
_LEAST_SUM: Final = 0.05
"""Of the valid weights, relative to the sum of their magnitudes."""


@dataclass(frozen=True, kw_only=True)
class ResizeOptions:
    """Of methods that resize.

    Attributes:
        projected: whether sums are taken behind the projector.
    """

    projected: bool = True


@dataclass(frozen=True, kw_only=True)
class ResizeMethod(Method):
    """See `Method`; every row is a weighted sum of its partition's tokens."""

    along: Along
    sides: Sides
    options: type[Any] = ResizeOptions
    merges: bool = True
    needs_squares: bool = True

    def needs(self, options: Any) -> Needs:
        return Needs(projected=options.projected)

    def reduce(self, evidence: Evidence, budget: Tensor, options: Any) -> Reduction:
        side = round(evidence.layout.valid.shape[-1] ** 0.5)
        return resized(evidence, budget, self.sides(side, options), self.along)


def resized(evidence: Evidence, budget: Tensor, sides: Sequence[int], along: Along) -> Reduction:
    """Rows at the largest of `sides` that fits; each stands at its cell's first valid patch."""
    valid, grid = affordable(evidence.layout.valid, budget, sides, along)
    weights, cells = along(grid, round(valid.shape[-1] ** 0.5))
    first, is_row = _first_valid(valid, cells)
    place = evidence.layout.place.gather(-1, first)
    key = place.where(is_row, place.numel()).flatten(1)
    row = key.argsort(dim=-1, stable=True)[:, : evidence.max_rows]
    begins = torch.arange(valid.shape[1], device=row.device)[:, None] * valid.shape[-1]
    return Reduction(
        count=is_row.sum((1, 2)),
        place=place.flatten(1).gather(1, row),
        source=(first + begins).flatten(1).gather(1, row),
        budgets=is_row.sum(-1),
        weights=_spread(weights.float(), valid, row),
    )


def affordable(
    valid: Tensor, budget: Tensor, sides: Sequence[int], along: Along
) -> tuple[Tensor, Tensor]:
    """What is resized, bool [B, P, N], and to which side, int64 [B].

    The largest with no more rows than the budget; where even one for each partition is too many,
    the largest for the full-image alone.
    """
    grid = _largest(valid, budget, sides, along)
    alone = valid.clone()
    alone[:, 1:] = False
    few = grid == 0
    grid = _largest(alone, budget, sides, along).where(few, grid)
    return alone.where(few[:, None, None], valid), grid.clamp(min=1)


def _largest(valid: Tensor, budget: Tensor, sides: Sequence[int], along: Along) -> Tensor:
    side = round(valid.shape[-1] ** 0.5)
    image = valid.unflatten(-1, (side, side)).float()
    found = torch.zeros_like(budget)
    for number in sides:
        _, cells = along(torch.full_like(budget[:1], number), side)
        cell = cells[0, :number].float()
        rows = ((cell @ image @ cell.T) > 0).sum((1, 2, 3))
        found = torch.where(rows <= budget, number, found)
    return found


def box(grid: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """`Along` of means: row r covers patches floor(r n / g) to ceil((r + 1) n / g), all alike."""
    patch = torch.arange(side, device=grid.device)
    row, count = patch[:, None], grid[:, None, None]
    start, end = row * side // count, -(-(row + 1) * side // count)
    cells = (row < count) & (patch >= start) & (patch < end)
    return cells.double(), cells


def linear(grid: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """`Along` of bilinear resizing; a cell is the one patch or two around the row's centre."""
    weights = (1 - _distance(grid, side)[..., 1:-1]).clamp(min=0)
    return weights, weights > 0


def cubic(grid: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """`Along` of bicubic resizing, Keys' kernel with a = -3/4; cells are those of `linear`."""
    x = _distance(grid, side)
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x * x + 1
    far = ((_CUBIC * x - 5 * _CUBIC) * x + 8 * _CUBIC) * x - 4 * _CUBIC
    weights = near.where(x <= 1, far.where(x < 2, 0.0))
    weights[..., 1] += weights[..., 0]  # Beyond the border its patches are repeated.
    weights[..., -2] += weights[..., -1]
    return weights[..., 1:-1], x[..., 1:-1] < 1


def centres(sides: Tensor, side: int) -> Tensor:
    """bool [..., n]: the patches that centres (r + 1/2) n / g of int64 [...] sides g lie in.

    g of them, as no two centres of g <= n share a patch; on a boundary the later one.
    """
    row, count = torch.arange(side, device=sides.device), sides[..., None].clamp(min=1)
    at = ((2 * row + 1) * side).div(2 * count, rounding_mode="floor")
    at = at.where(row < sides[..., None], side)  # To a patch of its own behind the others.
    found = torch.zeros(*sides.shape, side + 1, dtype=torch.bool, device=sides.device)
    return found.scatter_(-1, at, True)[..., :-1]


def _distance(grid: Tensor, side: int) -> Tensor:
    """float64 [B, n, n + 2]: from centre (r + 1/2) n / g - 1/2 to patches -1..n; infinity: no row.

    The numerator is a whole number, so that a patch that lies exactly there is told exactly.
    """
    patch = torch.arange(-1, side + 1, device=grid.device)
    row, count = torch.arange(side, device=grid.device)[:, None], grid[:, None, None]
    apart = (2 * row + 1) * side - count - 2 * count * patch
    return (apart.abs().double() / (2 * count)).where(row < count, torch.inf)


def _first_valid(valid: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [B, P, N], the first valid patch of cell (r, c), and bool: whether there is one."""
    side = cells.shape[-1]
    image = valid.unflatten(-1, (side, side))
    touched = (image.float() @ cells.float().mT[:, None]) > 0  # [B, P, i, c]
    inside = (cells[:, None, :, None] & touched.mT[:, :, None]).flatten(2, 3)  # [B, P, rc, i]
    row = inside.byte().argmax(-1)
    here = image.gather(2, row[..., None].expand(-1, -1, -1, side))
    columns = cells[:, None].expand(-1, side, -1, -1).flatten(1, 2)  # [B, rc, j]
    return row * side + (here & columns[:, None]).byte().argmax(-1), inside.any(-1)


def _spread(along: Tensor, valid: Tensor, row: Tensor) -> Tensor:
    """float [B, K, P*N]: weights of the chosen rows, each in the columns of its partition."""
    images, partitions, patches = valid.shape
    side = along.shape[-1]
    down, across = (
        along.gather(1, index[..., None].expand(-1, -1, side))
        for index in (row % patches // side, row % side)
    )
    whole = (down[..., :, None] * across[..., None, :]).flatten(2)
    owner = (row // patches)[..., None].expand(-1, -1, patches)
    own = renormalised(whole * valid.gather(1, owner))
    weights = own.new_zeros(images, row.shape[1], partitions, patches)
    return weights.scatter_(2, owner[:, :, None], own[:, :, None]).flatten(2)


def renormalised(weights: Tensor) -> Tensor:
    """Rows [..., N] that sum to 1, or are zero throughout.

    Negative weights may leave next to nothing of the sum; then they are left out.
    """
    small = weights.sum(-1, keepdim=True) < _LEAST_SUM * weights.abs().sum(-1, keepdim=True)
    kept = weights.clamp(min=0).where(small, weights)
    total = kept.sum(-1, keepdim=True)
    return kept / total.where(total > 0, 1)
