"""HoloV (arXiv:2510.02912): a share for every stretch of the sequence, by attention and variety.

A group's valid tokens are cut into contiguous chunks. With a CLS attention (summed over heads) and
v_i the variance of token i's cosines to the others of its chunk, behind the projector:

    score_i = s a_i + w v_i * mean(|s a|) / mean(|v|),   s = 1000, w = 0.09

A chunk's budget is in proportion to its mean score; in it tokens are kept by attention. Deviations:
means are over the group, not over the chunk as in the published code, where each chunk's mean score
comes to (1 + w) times its mean attention, whatever varies; budgets are met exactly by largest
remainder, what a chunk has no room for going to others, where that code fills up with zero vectors;
the diagonal is no part of the variance; tokens stay in their places.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.budget import integer_weights, water_fill
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.selection import select_tokens
from hired_core.methods.similarity import cosines, exact_rows, masked_mean

_SCALE: Final = 1000.0
_VARIETY: Final = 0.09


@dataclass(frozen=True, kw_only=True)
class HoloVOptions(AllocationOptions):
    """Of `holov`.

    Attributes:
        chunks: of a group, 1 or more.
    """

    chunks: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.chunks >= 1, "chunks", self.chunks, "1 or more")


def pick(evidence: Evidence, groups: Groups, options: HoloVOptions) -> Tensor:
    """bool [B, G, n]: of each chunk its share, by attention."""
    attention = groups.of(feature_importance_score(evidence.attention["final"]))
    alike = cosines(groups.of(given(evidence.features)))
    member = chunk_members(groups.valid, options.chunks)
    weights = chunk_weights(attention, alike, member)
    shares = water_fill(integer_weights(weights), member.sum(-1), groups.budgets)
    every = attention[..., None, :].expand(member.shape)
    return select_tokens(every, shares, member).any(-2)


def chunk_members(valid: Tensor, chunks: int) -> Tensor:
    """bool [..., chunks, n]: the valid tokens of each; as equal in number as can be."""
    position = valid.long().cumsum(-1) - 1
    chunk = position * chunks // valid.sum(-1, keepdim=True).clamp(min=1)
    index = torch.arange(chunks, device=valid.device)
    return (chunk[..., None, :] == index[:, None]) & valid[..., None, :]


def chunk_weights(attention: Tensor, similarity: Tensor, member: Tensor) -> Tensor:
    """float64 [..., chunks]: mean score of each chunk's tokens; 0 of one without tokens."""
    variety = variance_in_chunk(similarity, member)
    scaled, inside = _SCALE * attention.double(), member.any(-2)
    level = masked_mean(scaled[..., None], inside) / _positive(
        masked_mean(variety[..., None], inside)
    )
    score = (scaled + _VARIETY * variety * level).masked_fill(~inside, 0)
    return (score[..., None, :] * member).sum(-1) / member.sum(-1).clamp(min=1)


def _positive(value: Tensor) -> Tensor:
    return value.where(value > 0, torch.inf)


def variance_in_chunk(similarity: Tensor, member: Tensor) -> Tensor:
    """float64 [..., n]: variance of each token's cosines to the other tokens of its chunk.

    Mean square minus squared mean: sums of rounded cosines are exact, of their squares all but.
    """
    chunk = member.long().argmax(-2).where(member.any(-2), -1)
    others = chunk[..., :, None] == chunk[..., None, :]
    others &= ~torch.eye(others.shape[-1], dtype=torch.bool, device=others.device)
    count = others.sum(-1).clamp(min=1)
    inside = similarity.masked_fill(~others, 0)
    mean = exact_rows(inside) / count
    return (inside.square_().sum(-1, dtype=torch.float64) / count - mean.square()).clamp(min=0)


METHOD: Final = GroupedSelection(
    pick=pick,
    looks_at=lambda _: Needs(cls_layers=("final",), projected=True, pairs="partition"),
    options=HoloVOptions,
)
