"""Methods that are a pair of plain functions: how many of each partition, and which.

What takes any allocation by an option is in `grouping`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hired_core.choices import NewlinePolicy, Positions
from hired_core.methods.base import (
    Evidence,
    Method,
    Needs,
    NoOptions,
    Reduction,
    selection,
    without,
)
from hired_core.methods.schedule import MakeSchedule

Allocate = Callable[[Evidence, Tensor, Any], Tensor]
"""(evidence, budget int64 [B], options) -> budgets int64 [B, P]."""

Select = Callable[[Evidence, Tensor, Any], Tensor]
"""(evidence, budgets int64 [B, P], options) -> keep bool [B, P, N], a subset of the valid."""


def look_at_nothing(options: Any) -> Needs:
    """Of methods that know geometry alone."""
    return Needs()


@dataclass(frozen=True, kw_only=True)
class PairedSelection(Method):
    """A pair of allocation and selection.

    Attributes:
        looks_at: from options to what the two look at.
        worthwhile: bool [B, P] of the partitions worth encoding, where a method can tell that
            beforehand; `wants_to_skip` says under which options it does.
    """

    allocate: Allocate
    select: Select
    looks_at: Callable[[Any], Needs] = look_at_nothing
    options: type[Any] = NoOptions
    own_basis: bool = False
    keeps_all: bool = False
    merges: bool = False
    needs_full_image: bool = False
    positions: Positions = "compact"
    newline: NewlinePolicy = "none"
    worthwhile: Allocate | None = None
    wants_to_skip: Callable[[Any], bool] = bool
    needs_cls: bool = False
    schedule: MakeSchedule | None = None

    def needs(self, options: Any) -> Needs:
        return self.looks_at(options)

    def reduce(self, evidence: Evidence, budget: Tensor, options: Any) -> Reduction:
        budgets = self.allocate(evidence, budget, options)
        return selection(evidence, self.select(evidence, budgets, options), budgets)

    def skips(self, options: Any) -> bool:
        return self.worthwhile is not None and self.wants_to_skip(options)

    def skip(self, evidence: Evidence, budget: Tensor, options: Any) -> tuple[Evidence, Tensor]:
        assert self.worthwhile is not None, "asked to skip by a method that never does"
        evidence = without(evidence, ~self.worthwhile(evidence, budget, options))
        return evidence, self.allocate(evidence, budget, options) > 0
