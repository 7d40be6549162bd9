"""VisPruner (arXiv:2412.01818v2): important tokens, and of the others those that repeat no other.

Of a budget T, `T * importance` tokens (rounded down) are those with most CLS attention. The others,
most attended first, lose up to 8 tokens at a time until T are left: of the tokens at even places of
the list those with the highest cosine to one at an odd place go; then the rest of the even, most
alike first, stand before the odd. Of equals the one listed first goes. Features before the
projector. Deviations, where the published code stops with an error: a list of odd length has one
even place more, and no more go at a time than there are even places. Per partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.budget import floor_count
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.selection import by_importance, select_tokens
from hired_core.methods.similarity import cosines

AT_A_TIME: Final = 8


@dataclass(frozen=True, kw_only=True)
class VisPrunerOptions(AllocationOptions):
    """Of `vispruner`.

    Attributes:
        importance: share of the budget for the important tokens, 0 to 1; the paper's r.
    """

    importance: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.importance <= 1, "importance", self.importance, "0 to 1")


def pick(evidence: Evidence, groups: Groups, options: VisPrunerOptions) -> Tensor:
    """bool [B, G, n]: important tokens and diverse ones."""
    importance = groups.of(feature_importance_score(evidence.attention["final"]))
    count = floor_count(groups.budgets.double() * options.importance)
    important = select_tokens(importance, count, groups.valid)
    rest = groups.valid & ~important
    alike = cosines(groups.of(given(evidence.features)))
    return important | diverse(importance, alike, rest, groups.budgets - count)


def diverse(importance: Tensor, similarity: Tensor, rest: Tensor, wanted: Tensor) -> Tensor:
    """bool [..., n]: what is left of `rest` when all but `wanted` tokens have gone.

    Args:
        importance: [..., n].
        similarity: [..., n, n].
        rest: bool [..., n].
        wanted: int64 [...], none above the number of `rest`.
    """
    listed, length = by_importance(importance, rest), rest.sum(-1)
    for _ in range(_rounds(length, wanted, rest.shape[-1])):
        fewer = torch.minimum(length - wanted, (length + 1) // 2).clamp(0, AT_A_TIME)
        listed = _without_repeats(listed, length, fewer, similarity)
        length = length - fewer
    position = torch.arange(rest.shape[-1], device=rest.device)
    return torch.zeros_like(rest).scatter(-1, listed, position < length[..., None])


def _rounds(length: Tensor, wanted: Tensor, size: int) -> int:
    """How often tokens go, at most; on a GPU, where asking would wait for it, for any lengths.

    Fourteen tokens and fewer are more than halved at a time: 14, 7, 3, 1, 0.
    """
    most = size if length.is_cuda else int((length - wanted).max())
    return -(-most // AT_A_TIME) + 3


def _without_repeats(listed: Tensor, length: Tensor, fewer: Tensor, similarity: Tensor) -> Tensor:
    """The list [..., n] after one round; what goes, and what is behind the list, comes last."""
    even, odd = listed[..., 0::2], listed[..., 1::2]
    rows = similarity.gather(-2, even[..., None].expand(*even.shape, similarity.shape[-1]))
    pairs = rows.gather(-1, odd[..., None, :].expand(*even.shape, odd.shape[-1]))
    num_even, num_odd = (length + 1) // 2, length // 2
    there = torch.arange(odd.shape[-1], device=odd.device) < num_odd[..., None]
    score = pairs.masked_fill(~there[..., None, :], -2).amax(-1)
    here = torch.arange(even.shape[-1], device=even.device) < num_even[..., None]
    order = score.masked_fill(~here, -3).argsort(dim=-1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(-1, order, torch.arange(
        even.shape[-1], device=even.device).expand_as(order))  # fmt: skip
    last = listed.shape[-1]
    stays = here & (rank >= fewer[..., None])
    key_even = (rank - fewer[..., None]).where(stays, last)
    after = torch.arange(odd.shape[-1], device=odd.device) + (num_even - fewer)[..., None]
    key_odd = after.where(there, last)
    key = torch.cat([key_even, key_odd], dim=-1)
    both = torch.cat([even, odd], dim=-1)
    return both.gather(-1, key.argsort(dim=-1, stable=True))


METHOD: Final = GroupedSelection(
    pick=pick,
    looks_at=lambda _: Needs(cls_layers=("final",), features=True, pairs="partition"),
    options=VisPrunerOptions,
)
