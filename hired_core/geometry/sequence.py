"""The visual part of the language model's input: kept tokens in order, row ends and marks between.

A key says where an entry comes: four times its place for a token; before the next row's first for
the newline that ends one; just before a token for the marks that stand there.
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
    """int64 [L]: for each position, an index into the kept tokens, or `-1 - s` for separator s.

    `image_newline`, which is separator 0 where there is one, ends a row of the stitched sub-image
    grid: no row, each row that kept a token, or each unpadded row. With every valid token kept,
    "all" is exactly LLaVA-Next's own packing. Marks are those of `layout.marks`, whatever `policy`.

    Args:
        place: int64 [K], where the rows stand (`PartitionLayout.place`), ascending.
        layout: of the same image.
    """
    keys, entries = _separators(place, layout, policy)
    tokens = torch.arange(place.shape[0])
    order = torch.cat([4 * place, keys]).argsort(stable=True)
    return torch.cat([tokens, entries])[order]


def dense_positions(place: Tensor, layout: PartitionLayout, policy: NewlinePolicy) -> Tensor:
    """int64 [L + 1]: where the entries of `visual_sequence` are when nothing is dropped.

    Counted from the image's first, newlines of all rows and all marks included; the last is the
    length of that dense sequence, where the text after the image begins. With nothing dropped: 0,
    1, 2, ...; a mark that stands for others that were dropped with their partition is where the
    first mark there is. Where the unmodified model resizes the stitched grid, a token is where the
    resized one is that it falls in, which it may share with others.
    """
    if layout.shrunk is not None:
        return _resized_positions(place, layout, layout.shrunk, policy)
    every = layout.place[layout.valid].sort().values
    dense = torch.cat([4 * every, _separators(every, layout, "all")[0]]).sort(stable=True).values
    keys, _ = _separators(place, layout, policy)
    own = torch.cat([4 * place, keys]).sort(stable=True).values
    # Marks before the same token have the same key: count on from the first.
    repeated = torch.arange(own.shape[0]) - torch.searchsorted(own, own)
    positions = torch.searchsorted(dense, own) + repeated
    return torch.cat([positions, positions.new_tensor([dense.shape[0]])])


def grid_positions(place: Tensor, layout: PartitionLayout) -> Tensor:
    """int64 [K + 1, 3]: time, row and column of kept tokens in the image, which is one moment.

    The last is where the text after the image begins: behind the longer side, as in the dense
    sequence, and the same in all three.
    """
    rows, cols = layout.stitched
    where = torch.stack([torch.zeros_like(place), place // cols, place % cols], dim=-1)
    return torch.cat([where, where.new_full((1, 3), max(rows, cols))])


def _separators(
    place: Tensor, layout: PartitionLayout, policy: NewlinePolicy
) -> tuple[Tensor, Tensor]:
    """(keys, entries) of row ends, ascending, and of marks, in their order."""
    ends = place[:0] if policy == "none" else _row_ends(place, layout, policy)
    keys, entries = ends, torch.full_like(ends, NEWLINE)
    if layout.marks is not None:
        kept = torch.isin(layout.place, place).any(-1)
        before, separator = layout.marks.among(kept)
        keys = torch.cat([keys, 4 * before - 1])
        entries = torch.cat([entries, -1 - separator])
    return keys, entries


def _row_ends(place: Tensor, layout: PartitionLayout, policy: NewlinePolicy) -> Tensor:
    """Keys of the newlines, ascending; `policy` is not "none"."""
    if not layout.stitched[1]:
        return place[:0]
    ending = place if policy == "kept-rows" else layout.place[layout.valid]
    first, width = layout.num_tokens, layout.stitched[1]
    rows: Tensor = ((ending[ending >= first] - first) // width).unique()
    return 4 * (first + (rows + 1) * width) - 2


def _resized_positions(
    place: Tensor, layout: PartitionLayout, shrunk: tuple[int, int], policy: NewlinePolicy
) -> Tensor:
    """`dense_positions` of an image whose stitched grid is resized to `shrunk` tokens."""
    first, (rows, cols), width = layout.num_tokens, shrunk, layout.stitched[1]
    (top, left), (height, breadth) = layout.unpadded()

    def there(row: Tensor, col: Tensor) -> Tensor:
        return first + row * rows // height * (cols + 1) + col

    ends = place[:0] if policy == "none" else _row_ends(place, layout, policy)
    row, col = (place - first) // width - top, (place - first) % width - left
    tokens = place.where(place < first, there(row, col * cols // breadth))
    ended = ((ends + 2) // 4 - first) // width - 1 - top
    order = torch.cat([4 * place, ends]).argsort()
    found = torch.cat([tokens, there(ended, torch.full_like(ended, cols))])[order]
    return torch.cat([found, found.new_tensor([first + rows * (cols + 1)])])
