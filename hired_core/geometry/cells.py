"""A grid of visual tokens divided into cells, which stand for partitions.

P is one more than the cells: the first partition, elsewhere the full-image, has no tokens. N is
`cell` x `cell`; a smaller cell's tokens lie in the upper left corner of it, the rest is padding.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from hired_core.geometry.canvas import Size
from hired_core.geometry.layout import PartitionLayout


@lru_cache(maxsize=4096)
def cell_layout(tokens: Size, cell: int) -> PartitionLayout:
    """Of (rows, cols) visual tokens, `cell` along a side of a cell at the most.

    Places are 0..h*w-1 in raster order for tokens, then padding. `sub_image_of` tells the cell of
    every place of every partition, -1 in padding: the attention that a cell's own tokens receive
    stands for that of the full-image (see `visual_content_score`).
    """
    rows, cols = (_bounds(n, cell) for n in tokens)
    grid = (len(rows) - 1, len(cols) - 1)
    raster = torch.arange(tokens[0] * tokens[1]).view(tokens)
    place = torch.full((1 + grid[0] * grid[1], cell, cell), -1)
    for index in range(grid[0] * grid[1]):
        row, col = divmod(index, grid[1])
        inside = raster[rows[row] : rows[row + 1], cols[col] : cols[col + 1]]
        place[1 + index, : inside.shape[0], : inside.shape[1]] = inside
    place = place.flatten(1)
    valid = place >= 0
    cell_of = (torch.arange(len(place)) - 1)[:, None].expand_as(place)
    return PartitionLayout(
        grid=grid,
        side=cell,
        stitched=tokens,
        valid=valid,
        sub_image_of=cell_of.where(valid, -1).flatten(),
        place=_numbered(place, valid),
        centre=_centre(place, valid, tokens),
        has_full_image=False,
    )


def _bounds(count: int, cell: int) -> list[int]:
    """Where cells begin along a side of so many tokens, and its end."""
    cells = -(-count // cell)
    return [index * count // cells for index in range(cells + 1)]


def _numbered(place: Tensor, valid: Tensor) -> Tensor:
    """Padding behind all tokens, so that places are a permutation of 0..P*N-1."""
    numbered = place.clone()
    numbered[~valid] = torch.arange(int(valid.sum()), valid.numel())
    return numbered


def _centre(place: Tensor, valid: Tensor, tokens: Size) -> Tensor:
    """float32 [P, N, 2]; of padding outside the image."""
    y = (place // tokens[1] + 0.5) / tokens[0]
    x = (place % tokens[1] + 0.5) / tokens[1]
    return torch.stack([y, x], dim=-1).where(valid[..., None], -1.0)
