"""Reduction settings in one flat call."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from hired_core.methods.base import Evidence
from hired_core.methods.registry import make_options, method
from hired_core.vlm.settings import ReductionSettings

OPTIONS: Final = ("allocation", "dropping", "heads", "skip_below", "transposed_grid", "projected",
                  "nested")  # fmt: skip


def reduction(**given: Any) -> ReductionSettings:
    """`ReductionSettings`; `token_budget` is the budget, options of methods are told by name."""
    options = {key: given.pop(key) for key in OPTIONS if key in given}
    if "token_budget" in given:
        given["budget"] = given.pop("token_budget")
    return ReductionSettings(method_options=options, **given)


def keep(name: str, evidence: Evidence, budget: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """(keep bool [B, P, N], budgets int64 [B, P]) of a method that selects."""
    found: Any = method(name)
    chosen = make_options(name, options)
    budgets = found.allocate(evidence, budget, chosen)
    return found.select(evidence, budgets, chosen), budgets
