"""Equal budgets for all partitions, the tokens with most CLS attention of each.

FasterVLM (arXiv:2412.01818) per partition; with `stride` and `random` the sanity floor that any
allocation has to beat.
"""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from hired_core.methods.allocation import allocate_equally
from hired_core.methods.base import Evidence, Needs, SelectionMethod
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.selection import select_tokens


def select(evidence: Evidence, budgets: Tensor, options: Any) -> Tensor:
    """bool [B, P, N]: top tokens by feature importance score."""
    importance = feature_importance_score(evidence.attention["final"])
    return select_tokens(importance, budgets, evidence.layout.valid)


METHOD: Final = SelectionMethod(
    allocate=allocate_equally, select=select, looks_at=lambda _: Needs(cls_layers=("final",))
)
