"""SCOPE (arXiv:2510.24214): tokens that attention finds salient and that cover what is not covered.

Greedy facility location weighed by saliency: with cover_i the highest cosine of token i to a token
taken so far (0 at first), the next token is

    argmax_j a_j^p * sum_i max(0, cos(x_i, x_j) - cover_i)

a being CLS attention summed over heads, x features before the projector, p the `exponent`. Per
partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.similarity import best, cosines, exact_rows, one_hot, row_of


@dataclass(frozen=True, kw_only=True)
class ScopeOptions(AllocationOptions):
    """Of `scope`.

    Attributes:
        exponent: of saliency, 0 or more; 0 looks at coverage alone. The paper's alpha.
    """

    exponent: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.exponent >= 0, "exponent", self.exponent, "0 or more")


def pick(evidence: Evidence, groups: Groups, options: ScopeOptions) -> Tensor:
    """bool [B, G, n], see `cover`."""
    importance = feature_importance_score(evidence.attention["final"])
    saliency = groups.of(importance) ** options.exponent
    alike = cosines(groups.of(given(evidence.features)))
    return cover(alike, saliency, groups.valid, groups.budgets, groups.most)


def cover(
    similarity: Tensor, saliency: Tensor, valid: Tensor, budgets: Tensor, most: int
) -> Tensor:
    """bool [..., n]: `budgets` tokens, each the one with the highest gain when it is taken.

    Gains are exact sums of rounded cosines; ties go to the lower index.
    """
    size = valid.shape[-1]
    pairs = similarity.masked_fill(~valid[..., None, :], 0)  # Padding needs no cover.
    covered = torch.zeros_like(pairs[..., 0])
    keep, open_ = torch.zeros_like(valid), valid.clone()
    for step in range(most):
        gain = exact_rows((pairs - covered[..., None, :]).clamp_(min=0))
        index = best(saliency * gain, open_)
        taken = one_hot(index, size)
        keep |= taken & (step < budgets)[..., None] & open_
        open_ &= ~taken
        covered = torch.maximum(covered, row_of(pairs, index))
    return keep


METHOD: Final = GroupedSelection(
    pick=pick,
    looks_at=lambda _: Needs(cls_layers=("final",), features=True, pairs="partition"),
    options=ScopeOptions,
)
