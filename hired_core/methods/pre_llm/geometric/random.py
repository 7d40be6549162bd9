"""Tokens drawn by a seed made of the image's content, equal budgets for all partitions."""

from __future__ import annotations

from typing import Final

from torch import Tensor

from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.selection import random_scores, select_tokens


def pick(evidence: Evidence, groups: Groups, options: AllocationOptions) -> Tensor:
    """bool [B, G, n], see `random_scores`."""
    scores = random_scores(evidence.seeds, *groups.shape)
    return select_tokens(groups.of(scores), groups.budgets, groups.valid)


METHOD: Final = GroupedSelection(pick=pick)
