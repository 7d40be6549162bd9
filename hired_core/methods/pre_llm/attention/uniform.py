"""The tokens with most CLS attention, equal budgets for all partitions.

FasterVLM (arXiv:2412.01818v1) per partition; with the allocation `global` its top-k over the whole
image. With `stride` and `random` the floor that any method has to beat.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Needs
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.selection import select_tokens


def pick(evidence: Evidence, groups: Groups, options: AllocationOptions) -> Tensor:
    """bool [B, G, n]: top tokens by feature importance score."""
    importance = feature_importance_score(evidence.attention["final"])
    return select_tokens(groups.of(importance), groups.budgets, groups.valid)


METHOD: Final = GroupedSelection(pick=pick, looks_at=lambda _: Needs(cls_layers=("final",)))
