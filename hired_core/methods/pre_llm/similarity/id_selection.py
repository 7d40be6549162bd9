"""ID-Selection (arXiv:2604.05601): importance, and what is distinct from what has been taken.

The token of highest score S (CLS attention summed over heads) is taken, and every other score falls
by how near it is:

    S_j -= exp(-k d_ij^2) S_i,   d_ij = 1 - cos(x_i, x_j)

and so on to the exact count. Features x before the projector, k the `sharpness`. Per partition.
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
from hired_core.methods.similarity import best, cosines, one_hot, row_of


@dataclass(frozen=True, kw_only=True)
class IdSelectionOptions(AllocationOptions):
    """Of `id-selection`.

    Attributes:
        sharpness: above 0; how quickly the penalty falls with distance.
    """

    sharpness: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sharpness > 0, "sharpness", self.sharpness, "above 0")


def pick(evidence: Evidence, groups: Groups, options: IdSelectionOptions) -> Tensor:
    """bool [B, G, n], see `important_and_distinct`."""
    importance = groups.of(feature_importance_score(evidence.attention["final"]))
    alike = cosines(groups.of(given(evidence.features)))
    near = nearness(alike, options.sharpness)
    return important_and_distinct(importance, near, groups.valid, groups.budgets, groups.most)


def nearness(similarity: Tensor, sharpness: float) -> Tensor:
    """[..., n, n]: exp(-k (1 - cos)^2)."""
    return (1 - similarity).square_().mul_(-sharpness).exp_()


def important_and_distinct(
    importance: Tensor, near: Tensor, valid: Tensor, budgets: Tensor, most: int
) -> Tensor:
    """bool [..., n]: `budgets` tokens, each the one with the highest score left.

    Args:
        importance: [..., n], 0 or more.
        near: [..., n, n] in 0..1, how much of one's score the other loses when it is taken.
    """
    size = valid.shape[-1]
    score = importance.double()
    keep, open_ = torch.zeros_like(valid), valid.clone()
    for step in range(most):
        index = best(score, open_)
        taken = one_hot(index, size)
        keep |= taken & (step < budgets)[..., None] & open_
        open_ &= ~taken
        score = score - row_of(near, index) * score.gather(-1, index[..., None])
    return keep


METHOD: Final = GroupedSelection(
    pick=pick,
    looks_at=lambda _: Needs(cls_layers=("final",), features=True, pairs="partition"),
    options=IdSelectionOptions,
)
