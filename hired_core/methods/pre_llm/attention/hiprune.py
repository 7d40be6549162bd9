"""HiPrune (arXiv:2508.00553): objects by a middle layer's attention, the rest by a deep layer's.

Scores are the attention that a patch receives, the mean over heads and queries, so that no CLS
token is needed. Of a budget T, anchors are the `T * anchors / 5` tokens (rounded) of highest score
at the object layer, buffers their four neighbours in the partition, and registers fill up with the
tokens of highest score at the feature layer. Where rounding makes anchors and buffers more than T,
the last buffers go. Deviation: neighbours are those of the grid; the published code adds 1 and a
row's length to the index, which wraps around at row ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Needs
from hired_core.methods.budget import floor_count
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.scores import exact_sum
from hired_core.methods.selection import select_tokens


@dataclass(frozen=True, kw_only=True)
class HiPruneOptions(AllocationOptions):
    """Of `hiprune`.

    Attributes:
        anchors: share of the budget for anchors and their neighbours, 0 to 1; the paper's alpha.
        object_layer: where anchors are found, as a fraction of the way to the feature layer; by
            default the paper's ninth of 24 layers, of which the 23rd is the feature layer.
    """

    anchors: float = 0.1
    object_layer: float = 0.36

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.anchors <= 1, "anchors", self.anchors, "0 to 1")
        require(0 <= self.object_layer <= 1, "object_layer", self.object_layer, "0 to 1")


def needs(options: HiPruneOptions) -> Needs:
    return Needs(received_layers=(options.object_layer, "final"))


def pick(evidence: Evidence, groups: Groups, options: HiPruneOptions) -> Tensor:
    """bool [B, G, n]: anchors and buffers, then registers."""
    early, late = (
        groups.of(exact_sum(evidence.received[layer], dim=-2))
        for layer in (options.object_layer, "final")
    )
    count = floor_count(groups.budgets.double() * options.anchors / 5 + 0.5)
    anchors = select_tokens(early, count, groups.valid)
    # Anchors and buffers are 2 more than T at most. Those cut off then, the last in the order of
    # patches, are the last anchor's to the right and below.
    near = groups.of(with_neighbours(groups.partitions(anchors)))
    return select_tokens(late.masked_fill(near, torch.inf), groups.budgets, groups.valid)


def with_neighbours(anchors: Tensor) -> Tensor:
    """bool [..., N]: these patches of a partition and those beside, above and below them."""
    side = round(anchors.shape[-1] ** 0.5)
    grid: Tensor = anchors.unflatten(-1, (side, side))
    found = grid.clone()
    found[..., 1:, :] |= grid[..., :-1, :]
    found[..., :-1, :] |= grid[..., 1:, :]
    found[..., :, 1:] |= grid[..., :, :-1]
    found[..., :, :-1] |= grid[..., :, 1:]
    return found.flatten(-2)


METHOD: Final = GroupedSelection(pick=pick, looks_at=needs, options=HiPruneOptions)
