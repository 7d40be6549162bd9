"""Visual-token selection for high-resolution vision-language models at a fixed budget.

Implements HiRED (High-Resolution Early Dropping, arXiv:2408.10945v3) for LLaVA-Next's AnyRes
partitions as pure tensor functions. Importing this package imports neither ray nor transformers;
the adapters that need transformers live in `hired_core.models`.
"""

from hired_core.budget import allocate_budget, token_budget_to_count
from hired_core.layout import LayoutBatch, PartitionLayout
from hired_core.scores import feature_importance_score, visual_content_score
from hired_core.selection import select_tokens

__all__ = [
    "LayoutBatch",
    "PartitionLayout",
    "allocate_budget",
    "feature_importance_score",
    "select_tokens",
    "token_budget_to_count",
    "visual_content_score",
]
