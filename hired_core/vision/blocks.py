"""Which patches see each other: of images side by side, or of windows of images.

Blocks of one length go together, int64 [m, L], so that attention is one call for each length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor

from hired_core.geometry.canvas import Size
from hired_core.transfer import upload


def blocks_of(tokens: Sequence[int], area: int, device: torch.device) -> list[Tensor]:
    """Of images with so many visual tokens each, of `area` patches each."""
    starts = accumulate(tokens, initial=0)
    ranges = (torch.arange(at, at + count) for at, count in zip(starts, tokens, strict=False))
    return [upload(_patches(each, area), device) for each in _by_length(ranges)]


def windows_of(
    grids: tuple[Size, ...], window: int, area: int, device: torch.device
) -> list[Tensor]:
    """Of windows of `window` x `window` visual tokens, cut off at the lower and right border.

    Args:
        grids: (rows, cols) of visual tokens of each image.
    """
    starts = accumulate((rows * cols for rows, cols in grids), initial=0)
    windows = (
        at + cell for at, grid in zip(starts, grids, strict=False) for cell in _cells(grid, window)
    )
    return [upload(_patches(each, area), device) for each in _by_length(windows)]


@lru_cache(maxsize=1024)
def _cells(grid: Size, window: int) -> tuple[Tensor, ...]:
    raster = torch.arange(grid[0] * grid[1]).view(grid)
    bands = raster.split(window, dim=0)
    return tuple(cell.flatten() for band in bands for cell in band.split(window, dim=1))


def _by_length(blocks: Iterator[Tensor]) -> list[Tensor]:
    """[m, L] of each length, in the order in which lengths come."""
    found: dict[int, list[Tensor]] = {}
    for block in blocks:
        found.setdefault(len(block), []).append(block)
    return [torch.stack(each) for each in found.values()]


def _patches(tokens: Tensor, area: int) -> Tensor:
    return (tokens[..., None] * area + torch.arange(area)).flatten(-2)
