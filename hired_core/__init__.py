"""Visual-token selection for high-resolution vision-language models at a fixed budget.

Implements HiRED (High-Resolution Early Dropping, arXiv:2408.10945v3) for LLaVA-Next's AnyRes
partitions as pure tensor functions. Importing this package imports neither ray nor transformers;
the adapters that need transformers live in `hired_core.models`. Its names are loaded at their first
use, so that a process that only decodes images does not load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hired_core.geometry.layout import LayoutBatch, PartitionLayout
    from hired_core.methods.budget import allocate_budget, token_budget_to_count
    from hired_core.methods.scores import feature_importance_score, visual_content_score
    from hired_core.methods.selection import select_tokens

__all__ = [
    "LayoutBatch",
    "PartitionLayout",
    "allocate_budget",
    "feature_importance_score",
    "select_tokens",
    "token_budget_to_count",
    "visual_content_score",
]

_HOMES = {
    "LayoutBatch": "geometry.layout",
    "PartitionLayout": "geometry.layout",
    "allocate_budget": "methods.budget",
    "feature_importance_score": "methods.scores",
    "select_tokens": "methods.selection",
    "token_budget_to_count": "methods.budget",
    "visual_content_score": "methods.scores",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
