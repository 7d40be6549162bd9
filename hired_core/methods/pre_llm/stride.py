"""Equal budgets for all partitions, tokens at even strides: nothing is looked at."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from hired_core.methods.allocation import allocate_equally
from hired_core.methods.base import Evidence, SelectionMethod
from hired_core.methods.selection import select_stride


def select(evidence: Evidence, budgets: Tensor, options: Any) -> Tensor:
    """bool [B, P, N], see `select_stride`."""
    return select_stride(budgets, evidence.layout.valid)


METHOD: Final = SelectionMethod(allocate=allocate_equally, select=select)
