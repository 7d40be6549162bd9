"""The unmodified model of families that resize the tokens of large images (LLaVA-OneVision).

Only where nothing is dropped: a budget chooses from all tokens instead. Legend: B images, K rows,
C width, P partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hired_core.geometry.layout import PartitionLayout
from hired_core.methods.budget import allocate_evenly


class ReducedImages(NamedTuple):
    """Of B images: features [B, K, C], place [B, K], `num_rows` [B] are real, budgets [B, P]."""

    features: Tensor
    place: Tensor
    num_rows: Tensor
    budgets: Tensor


def resize_grids(found: ReducedImages, layouts: Sequence[PartitionLayout]) -> ReducedImages:
    """The rows of the unmodified model, given all valid tokens of the images, projected.

    Places of a resized image are those of `layout.resized()`; of its budgets all but the
    full-image's are even shares, as its rows are of no one partition. No wait for the device.
    """
    if all(layout.shrunk is None for layout in layouts):
        return found
    features, place, budgets = found.features.clone(), found.place.clone(), found.budgets.clone()
    num_rows = found.num_rows.clone()
    for row, layout in enumerate(layouts):
        if layout.shrunk is None:
            continue
        first, count = layout.num_tokens, layout.num_dense
        features[row, first:count] = _resized(found.features[row], layout)
        place[row, :count] = torch.arange(count, device=place.device)
        num_rows[row] = count
        room = layout.valid.sum(-1)[1:]
        shares = allocate_evenly(room, torch.tensor(count - first))
        budgets[row, 1 : layout.num_partitions] = shares.to(budgets.device)
    return ReducedImages(features, place, num_rows, budgets)


def _resized(features: Tensor, layout: PartitionLayout) -> Tensor:
    """[rows * cols, C] of the resized grid, bilinear and without antialiasing, as the model does.

    Args:
        features: [K, C] of the valid tokens in sequence order, the full-image's first.
    """
    assert layout.shrunk is not None, "asked of an image that is not resized"
    _, (rows, cols) = layout.unpadded()
    grid = features[layout.num_tokens : layout.num_tokens + rows * cols].view(rows, cols, -1)
    small = functional.interpolate(grid.permute(2, 0, 1)[None], layout.shrunk, mode="bilinear")
    return small[0].flatten(1).T
