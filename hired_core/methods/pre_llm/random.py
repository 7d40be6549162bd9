"""Equal budgets for all partitions, tokens drawn by a seed made of the image's content."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from hired_core.methods.allocation import allocate_equally
from hired_core.methods.base import Evidence, SelectionMethod
from hired_core.methods.selection import random_scores, select_tokens


def select(evidence: Evidence, budgets: Tensor, options: Any) -> Tensor:
    """bool [B, P, N], see `random_scores`."""
    _, partitions, patches = evidence.layout.valid.shape
    scores = random_scores(evidence.seeds, partitions, patches)
    return select_tokens(scores, budgets, evidence.layout.valid)


METHOD: Final = SelectionMethod(allocate=allocate_equally, select=select)
