"""The visual part of the language model's input: kept tokens in order, newlines between rows."""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor

from hired_core.layout import PartitionLayout

NewlinePolicy = Literal["none", "kept-rows", "all"]
NEWLINE: Final = -1


def visual_sequence(order: Tensor, layout: PartitionLayout, policy: NewlinePolicy) -> Tensor:
    """int64 [L]: for each position, an index into the kept tokens, or `NEWLINE`.

    `image_newline` ends a row of the stitched sub-image grid: no row, each row that kept a token,
    or each unpadded row. With every valid token kept, "all" is exactly LLaVA-Next's own packing.

    Args:
        order: int64 [K], positions of the kept tokens (`PartitionLayout.order`), ascending.
        layout: of the same image.
    """
    tokens = torch.arange(order.shape[0])
    if policy == "none":
        return tokens
    first, width = layout.num_patches, layout.stitched[1]
    row_of = (order[order >= first] - first) // width
    rows = row_of.unique() if policy == "kept-rows" else _valid_rows(layout)
    # A row ends half a step before the next one begins.
    ends = 2 * (first + (rows + 1) * width) - 1
    entries = torch.cat([tokens, torch.full_like(rows, NEWLINE)])
    return entries[torch.cat([2 * order, ends]).argsort()]


def _valid_rows(layout: PartitionLayout) -> Tensor:
    positions = layout.order[1:][layout.valid[1:]]
    rows: Tensor = ((positions - layout.num_patches) // layout.stitched[1]).unique()
    return rows
