"""Reduction settings in one flat call."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from torch import Tensor

from hired_core.methods.base import Evidence
from hired_core.methods.registry import make_options, method
from hired_core.vlm.settings import ReductionSettings

OPTIONS: Final = ("allocation", "dropping", "heads", "skip_below", "transposed_grid", "projected",
                  "nested", "sharpness")  # fmt: skip
"""Of methods, `alpha` apart."""
_SETTINGS: Final = {each.name for each in fields(ReductionSettings)}


def reduction(**given: Any) -> ReductionSettings:
    """`ReductionSettings`; `token_budget` is the budget, what is no setting an option."""
    if "token_budget" in given:
        given["budget"] = given.pop("token_budget")
    given.setdefault("method", "hired")
    options = {key: given.pop(key) for key in list(given) if key not in _SETTINGS}
    return ReductionSettings(method_options=options, **given)


def keep(name: str, evidence: Evidence, budget: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """(keep bool [B, P, N], budgets int64 [B, P]) of a pair of allocation and selection."""
    found: Any = method(name)
    chosen = make_options(name, options)
    budgets = found.allocate(evidence, budget, chosen)
    return found.select(evidence, budgets, chosen), budgets
