"""Tokens that are important and say what no other says: this project's own.

Budgets are GlobalCom2's (`allocation.allocate_softly`), which need no share for the full-image to
be chosen. In a partition the token of highest score is taken, and every other score is scaled down
by how near it is to it:

    S_j *= 1 - exp(-k d_ij^2),   d_ij = 1 - cos(x_i, x_j)

and so on to the exact count, S being CLS attention summed over heads (HiRED, Eq. 2), x features
before the projector, k the `sharpness`. ID-Selection subtracts where this multiplies: a token that
differs from what was taken keeps its own importance, and no score falls below 0, where the order of
what is left would be that of the penalties alone. Kept tokens are read where they stand in the
unmodified model's input (`positions`): chosen to differ, they lie far apart, and closed up they
would seem neighbours. For the same reason the ends of rows that kept a token go in with them
(`newline`), beyond the budget.

How it was chosen, and what lost beside it: results/accuracy.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hired_core.choices import Allocation
from hired_core.errors import require
from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.pre_llm.similarity.id_selection import nearness
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.similarity import best, cosines, one_hot, row_of

_LEAST: Final = 2.0**-20
"""What is left at least of a score: of equal tokens the more important is still the first."""


@dataclass(frozen=True, kw_only=True)
class DistinctOptions(AllocationOptions):
    """Of `distinct`.

    Attributes:
        allocation: as GlobalCom2's, or another.
        sharpness: above 0; the higher, the nearer two tokens must be to lower each other's score.
    """

    allocation: Allocation = "globalcom2"
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sharpness > 0, "sharpness", self.sharpness, "above 0")


def pick(evidence: Evidence, groups: Groups, options: DistinctOptions) -> Tensor:
    """bool [B, G, n], see `important_times_distinct`."""
    importance = groups.of(feature_importance_score(evidence.attention["final"]))
    alike = cosines(groups.of(given(evidence.features)))
    near = nearness(alike, options.sharpness)
    return important_times_distinct(importance, near, groups.valid, groups.budgets, groups.most)


def important_times_distinct(
    importance: Tensor, near: Tensor, valid: Tensor, budgets: Tensor, most: int
) -> Tensor:
    """bool [..., n]: `budgets` tokens, each the one with the highest score left; ties: lower index.

    Scores are kept as logarithms, since products of many factors would come to nothing.

    Args:
        importance: [..., n], 0 or more; 0 and NaN come last.
        near: [..., n, n] in 0..1.
    """
    size = valid.shape[-1]
    lowest = math.log(torch.finfo(torch.float64).tiny)
    score = importance.double().log().nan_to_num(nan=lowest, neginf=lowest)
    left = (1 - near).clamp_(min=_LEAST).log_()
    keep, open_ = torch.zeros_like(valid), valid.clone()
    for step in range(most):
        index = best(score, open_)
        taken = one_hot(index, size)
        keep |= taken & (step < budgets)[..., None] & open_
        open_ &= ~taken
        score = score + row_of(left, index)
    return keep


METHOD: Final = GroupedSelection(
    pick=pick,
    looks_at=lambda _: Needs(cls_layers=("final",), features=True, pairs="partition"),
    options=DistinctOptions,
    positions="original",
    newline="kept-rows",
)
