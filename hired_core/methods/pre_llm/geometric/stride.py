"""Tokens at even strides, equal budgets for all partitions: nothing is looked at.

HiRED's "Spatial" baseline, made exact (`select_stride`).
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.selection import select_stride


def pick(evidence: Evidence, groups: Groups, options: AllocationOptions) -> Tensor:
    """bool [B, G, n], see `select_stride`."""
    return select_stride(groups.budgets, groups.valid)


METHOD: Final = GroupedSelection(pick=pick)
