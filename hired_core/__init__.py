"""Captions and answers from high-resolution vision-language models at a fixed visual-token budget.

    vlm = hired_core.load("embedded", token_budget=0.2)
    print(vlm.caption("photo.jpg").text)

The public face: `load` gives a `Vlm`; beside it are HiRED's pure functions (arXiv:2408.10945v3)
for those who have a model of their own. Importing this imports neither ray nor transformers, nor
torch: names are loaded at their first use, so that a process that only decodes images stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hired_core.geometry.layout import PartitionLayout
    from hired_core.geometry.layout_batch import LayoutBatch
    from hired_core.language.generation import GenerationSettings
    from hired_core.methods.budget import allocate_budget, token_budget_to_count
    from hired_core.methods.scores import feature_importance_score, visual_content_score
    from hired_core.methods.selection import select_tokens
    from hired_core.vlm.settings import ReductionSettings
    from hired_core.vlm.vlm import Vlm

    load = Vlm.load

__all__ = [
    "GenerationSettings",
    "LayoutBatch",
    "PartitionLayout",
    "ReductionSettings",
    "Vlm",
    "allocate_budget",
    "feature_importance_score",
    "load",
    "select_tokens",
    "token_budget_to_count",
    "visual_content_score",
]

_HOMES = {
    "GenerationSettings": "language.generation",
    "LayoutBatch": "geometry.layout_batch",
    "PartitionLayout": "geometry.layout",
    "ReductionSettings": "vlm.settings",
    "Vlm": "vlm.vlm",
    "allocate_budget": "methods.budget",
    "feature_importance_score": "methods.scores",
    "select_tokens": "methods.selection",
    "token_budget_to_count": "methods.budget",
    "visual_content_score": "methods.scores",
}


def __getattr__(name: str) -> Any:
    if name == "load":
        return __getattr__("Vlm").load
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
