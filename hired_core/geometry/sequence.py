"""The visual part of the language model's input: kept tokens in order, newlines between rows.

A key says where an entry comes: twice its position for a token, half a step before the next row for
the newline that ends one.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from hired_core.choices import NewlinePolicy as NewlinePolicy
from hired_core.choices import Positions as Positions
from hired_core.geometry.layout import PartitionLayout

NEWLINE: Final = -1


def visual_sequence(place: Tensor, layout: PartitionLayout, policy: NewlinePolicy) -> Tensor:
    """int64 [L]: for each position, an index into the kept tokens, or `NEWLINE`.

    `image_newline` ends a row of the stitched sub-image grid: no row, each row that kept a token,
    or each unpadded row. With every valid token kept, "all" is exactly LLaVA-Next's own packing.

    Args:
        place: int64 [K], where the rows stand (`PartitionLayout.place`), ascending.
        layout: of the same image.
    """
    tokens = torch.arange(place.shape[0])
    if policy == "none":
        return tokens
    ends = _row_ends(place, layout, policy)
    entries = torch.cat([tokens, torch.full_like(ends, NEWLINE)])
    return entries[torch.cat([2 * place, ends]).argsort()]


def dense_positions(place: Tensor, layout: PartitionLayout, policy: NewlinePolicy) -> Tensor:
    """int64 [L + 1]: where the entries of `visual_sequence` are when nothing is dropped.

    Counted from the image's first, newlines of all rows included; the last is the length of that
    dense sequence, where the text after the image begins. With nothing dropped: 0, 1, 2, ...
    """
    every = layout.place[layout.valid].sort().values
    dense = torch.cat([2 * every, _row_ends(every, layout, "all")]).sort().values
    ends = place[:0] if policy == "none" else _row_ends(place, layout, policy)
    positions = torch.searchsorted(dense, torch.cat([2 * place, ends]).sort().values)
    return torch.cat([positions, positions.new_tensor([dense.shape[0]])])


def grid_positions(place: Tensor, layout: PartitionLayout) -> Tensor:
    """int64 [K + 1, 3]: time, row and column of kept tokens in the image, which is one moment.

    The last is where the text after the image begins: behind the longer side, as in the dense
    sequence, and the same in all three.
    """
    rows, cols = layout.stitched
    where = torch.stack([torch.zeros_like(place), place // cols, place % cols], dim=-1)
    return torch.cat([where, where.new_full((1, 3), max(rows, cols))])


def _row_ends(place: Tensor, layout: PartitionLayout, policy: NewlinePolicy) -> Tensor:
    """Keys of the newlines, ascending; `policy` is not "none"."""
    ending = place if policy == "kept-rows" else layout.place[layout.valid]
    first, width = layout.num_tokens, layout.stitched[1]
    rows: Tensor = ((ending[ending >= first] - first) // max(width, 1)).unique()
    return 2 * (first + (rows + 1) * width) - 1
