"""LLaVA-PruMerge (arXiv:2403.15388): what CLS attends to, with what is near it merged in.

Tokens with most CLS attention a (mean over heads) are kept, and each becomes the weighted average

    x'_i = (a_i x_i + sum_j a_j x_j) / (a_i + sum_j a_j)

of itself and its `neighbours` nearest of all other tokens, kept or not, by the cosine of keys. Per
partition, rows at the kept tokens' places. With `counts=budget` the allocation
says how many are kept; with `counts=adaptive`, as the paper, at most that many, and no more than
have outlying attention, above Q3 + 1.5 (Q3 - Q1) of the partition's, at least one. `merge=sum`
takes x_i + sum_j a_j x_j, as the published code does. Deviations: attention and keys are of the
feature layer (the paper's; the code looks at the layer behind it, which is not loaded here) and
attention is per head; one row for all that was left out, which the code appends, has no place in
the image and is not made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import AllocationOptions, allocation_needs, require_partitions
from hired_core.methods.base import Evidence, Method, Needs, Reduction, given
from hired_core.methods.grouping import Groups, make_groups
from hired_core.methods.merging import means, merged
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.selection import select_stride, select_tokens
from hired_core.methods.similarity import cosines

Counts = Literal["budget", "adaptive"]
Merge = Literal["average", "sum"]


@dataclass(frozen=True, kw_only=True)
class PruMergeOptions(AllocationOptions):
    """Of `prumerge` and `prumerge-plus`.

    Attributes:
        counts: `budget`: as many as the allocation says; `adaptive`: no more than outlying
            attention asks for.
        merge: `average`, as the paper, or `sum`, as its code.
        neighbours: merged into each kept token, 0 or more.
    """

    counts: Counts = "budget"
    merge: Merge = "average"
    neighbours: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_partitions(self)
        for key, kind in (("counts", Counts), ("merge", Merge)):
            allowed = get_args(kind)
            require(getattr(self, key) in allowed, key, getattr(self, key), ", ".join(allowed))
        require(self.neighbours >= 0, "neighbours", self.neighbours, "0 or more")


def num_outliers(attention: Tensor, valid: Tensor) -> Tensor:
    """int64 [...]: valid tokens above Q3 + 1.5 (Q3 - Q1), at least 1 where there is a valid token.

    Quartiles are interpolated linearly, of the valid tokens of [..., N].
    """
    count = valid.sum(-1, keepdim=True)
    ordered = attention.masked_fill(~valid, torch.inf).sort(-1).values
    first, third = (_quantile(ordered, count, share) for share in (0.25, 0.75))
    above = (attention > third + 1.5 * (third - first)) & valid
    return torch.minimum(above.sum(-1).clamp(min=1), count[..., 0])


def _quantile(ordered: Tensor, count: Tensor, share: float) -> Tensor:
    at = (count - 1).clamp(min=0) * share
    low = at.floor().long()
    high = torch.minimum(low + 1, (count - 1).clamp(min=0))
    lower, upper = ordered.gather(-1, low), ordered.gather(-1, high)
    return lower + (upper - lower) * (at - low)


def nearest(similarity: Tensor, valid: Tensor, count: int) -> Tensor:
    """bool [..., N, N]: of each row the `count` other valid tokens most alike (lower index)."""
    itself = torch.eye(valid.shape[-1], dtype=torch.bool, device=valid.device)
    others = valid[..., None, :] & ~itself
    order = similarity.masked_fill(~others, -2).argsort(dim=-1, descending=True, stable=True)
    near = torch.zeros_like(others).scatter_(-1, order[..., :count], True)
    return near & others


class PruMerge(Method):
    """See `Method`.

    Args:
        plus: whether tokens at even strides are kept besides those with outlying attention.
    """

    options = PruMergeOptions
    merges = True

    def __init__(self, *, plus: bool = False) -> None:
        self._plus = plus

    def needs(self, options: PruMergeOptions) -> Needs:
        own = Needs(cls_layers=("final",), keys_layer="final", pairs="partition")
        return own.also(allocation_needs(options))

    def reduce(self, evidence: Evidence, budget: Tensor, options: PruMergeOptions) -> Reduction:
        groups = make_groups(evidence, budget, options)
        attention = feature_importance_score(evidence.attention["final"])
        keep = self._keep(attention, groups, options)
        near = nearest(cosines(given(evidence.keys)), groups.valid, options.neighbours)
        own = torch.eye(near.shape[-1], device=near.device)
        if options.merge == "sum":
            share = (attention / evidence.attention["final"].shape[2]).float()
            return merged(evidence, keep, own + near * share[..., None, :])
        return merged(evidence, keep, means(near | own.bool(), attention))

    def _keep(self, attention: Tensor, groups: Groups, options: PruMergeOptions) -> Tensor:
        """bool [B, P, N]."""
        outliers = torch.minimum(num_outliers(attention, groups.valid), groups.budgets)
        adaptive = options.counts == "adaptive"
        if not self._plus:
            count = outliers if adaptive else groups.budgets
            return select_tokens(attention, count, groups.valid)
        keep = select_tokens(attention, outliers, groups.valid)
        offered = comb(outliers, groups.valid) if adaptive else groups.valid
        return keep | select_stride(groups.budgets - outliers, offered & ~keep)


def comb(outliers: Tensor, valid: Tensor) -> Tensor:
    """bool [..., N]: valid tokens at a third of the step between outliers that were spread evenly.

    That is at 0, s, 2s, ... of the valid tokens, s = max(1, number // outliers // 3).
    """
    step = (valid.sum(-1) // outliers.clamp(min=1) // 3).clamp(min=1)[..., None]
    return valid & ((valid.long().cumsum(-1) - 1) % step == 0)


METHOD: Final = PruMerge()
