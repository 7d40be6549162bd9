"""Rows that are weighted sums of visual tokens of one partition.

Legend: B images, P partitions, N patches, K rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hired_core.methods.base import Evidence, Reduction
from hired_core.methods.selection import gather_places


def merged(evidence: Evidence, keep: Tensor, weights: Tensor) -> Reduction:
    """A row for each token that is kept, at its place.

    Args:
        keep: bool [B, P, N].
        weights: float [B, P, N, N]: what a row that stands at patch i takes of each patch of its
            partition; rows of what is not kept do not matter.
    """
    images, partitions, patches = keep.shape
    place = evidence.layout.place
    source, count = gather_places(keep, place, evidence.max_rows)
    own = weights.flatten(1, 2).gather(1, source[..., None].expand(-1, -1, patches))
    spread = own.new_zeros(images, source.shape[1], partitions, patches)
    where = (source // patches)[..., None, None].expand(-1, -1, 1, patches)
    return Reduction(
        count=count,
        place=place.flatten(1).gather(1, source),
        source=source,
        budgets=keep.sum(-1),
        weights=spread.scatter_(2, where, own[:, :, None]).flatten(2),
    )


def means(members: Tensor, importance: Tensor | None = None) -> Tensor:
    """float [..., N, N]: weights that make each row the mean of its members, by importance.

    Args:
        members: bool [..., N, N].
        importance: float [..., N], 0 or more; None: all count alike. Where the members' is nothing
            at all, they count alike too.
    """
    weights = members.float()
    if importance is not None:
        weighed = weights.where(weights == 0, importance[..., None, :].float())
        has_some = weighed.sum(-1, keepdim=True) > 0
        weights = weighed.where(has_some, weights)
    return weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
