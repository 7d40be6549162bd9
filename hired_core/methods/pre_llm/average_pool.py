"""Average pooling of each partition's tokens to g x g, as M3 does it untrained (arXiv:2405.17430).

A row is the mean of the visual tokens in its cell, taken behind the projector (or before it, by
option). Cells are those of `adaptive_avg_pool2d`: row r of g covers patch rows floor(r n / g) to
ceil((r + 1) n / g). Padding is left out of the mean; a cell of nothing else gives no row. g is the
largest at which the image has no more rows than its budget, so that counts are quantised, never
exceeded. With fewer tokens than partitions, the full-image alone is pooled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from hired_core.choices import Positions
from hired_core.methods.base import Evidence, Needs, Reduction


@dataclass(frozen=True, kw_only=True)
class AveragePoolOptions:
    """Of `average-pool`.

    Attributes:
        projected: whether means are taken behind the projector.
    """

    projected: bool = True


class AveragePool:
    """See `Method`; every row is a mean."""

    options = AveragePoolOptions
    own_basis = False
    keeps_all = False
    merges = True
    positions: Positions = "compact"
    schedule = None

    def needs(self, options: AveragePoolOptions) -> Needs:
        return Needs(projected=options.projected)

    def skips(self, options: Any) -> bool:
        return False

    def skip(self, evidence: Evidence, budget: Tensor, options: Any) -> tuple[Evidence, Tensor]:
        raise AssertionError("every partition is pooled")

    def reduce(self, evidence: Evidence, budget: Tensor, options: Any) -> Reduction:
        valid, grid = affordable(evidence.layout.valid, budget)
        means = pool_weights(grid, valid)
        is_row = means.any(-1)
        # A row stands where the first valid patch of its cell does.
        index = torch.arange(means.shape[-1], device=means.device)
        first = index.where(means > 0, means.shape[-1] - 1).amin(-1)
        place = evidence.layout.place.gather(-1, first)
        key = place.where(is_row, place.numel()).flatten(1)
        cell = key.argsort(dim=-1, stable=True)[:, : evidence.max_rows]
        return Reduction(
            count=is_row.sum((1, 2)),
            place=place.flatten(1).gather(1, cell),
            source=_flat(first).gather(1, cell),
            budgets=is_row.sum(-1),
            weights=_spread(means, cell),
        )


def affordable(valid: Tensor, budget: Tensor) -> tuple[Tensor, Tensor]:
    """What is pooled, bool [B, P, N], and the cells along a side, int64 [B].

    The most cells with no more rows than the budget; where even one for each partition is too many,
    those of the full-image alone.
    """
    grid = _most_cells(valid, budget)
    alone = valid.clone()
    alone[:, 1:] = False
    few = grid == 0
    grid = _most_cells(alone, budget).where(few, grid)
    return alone.where(few[:, None, None], valid), grid.clamp(min=1)


def _most_cells(valid: Tensor, budget: Tensor) -> Tensor:
    side = round(valid.shape[-1] ** 0.5)
    image = valid.unflatten(-1, (side, side)).float()
    found = torch.zeros_like(budget)
    for number in range(1, side + 1):
        along = cells(torch.full_like(budget[:1], number), side)[0, :number].float()
        rows = ((along @ image @ along.T) > 0).sum((1, 2, 3))
        found = torch.where(rows <= budget, number, found)
    return found


def cells(grid: Tensor, side: int) -> Tensor:
    """bool [B, side, side]: whether cell row r of `grid` (int64 [B], 1..side) has patch row i."""
    patch = torch.arange(side, device=grid.device)
    row, count = patch[:, None], grid[:, None, None]
    start, end = row * side // count, -(-(row + 1) * side // count)
    return (row < count) & (patch >= start) & (patch < end)


def pool_weights(grid: Tensor, valid: Tensor) -> Tensor:
    """float [B, P, N, N]: row r * side + c is the mean of the valid patches in cell (r, c).

    Rows of cells that are not there, or hold padding only, are zero.

    Args:
        grid: int64 [B], cells along a side.
        valid: bool [B, P, N].
    """
    along = cells(grid, round(valid.shape[-1] ** 0.5))
    covers = along[:, :, None, :, None] & along[:, None, :, None, :]
    inside = (covers.flatten(3).flatten(1, 2)[:, None] & valid[:, :, None]).float()
    return inside / inside.sum(-1, keepdim=True).clamp(min=1)


def _flat(patch: Tensor) -> Tensor:
    """Patches [B, P, M] of their partition as indices into the flattened P*N, [B, P*M]; M is N."""
    _, partitions, patches = patch.shape
    first = torch.arange(partitions, device=patch.device)[:, None] * patches
    return (patch + first).flatten(1)


def _spread(means: Tensor, cell: Tensor) -> Tensor:
    """[B, K, P*N]: the weights of the chosen cells, each in the columns of its partition."""
    images, partitions, patches, _ = means.shape
    index = cell[..., None].expand(-1, -1, patches)
    chosen = means.flatten(1, 2).gather(1, index)
    weights = means.new_zeros(images, cell.shape[1], partitions, patches)
    where = (cell // patches)[..., None, None].expand(-1, -1, 1, patches)
    return weights.scatter_(2, where, chosen[:, :, None]).flatten(2)


METHOD: Final = AveragePool()
