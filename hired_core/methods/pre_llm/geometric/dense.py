"""The unmodified model: nothing is dropped, whatever the budget."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor

from hired_core.methods.allocation import allocate_all
from hired_core.methods.base import Evidence
from hired_core.methods.pairing import PairedSelection


def select_all(evidence: Evidence, budgets: Tensor, options: Any) -> Tensor:
    """Every valid patch."""
    return evidence.layout.valid


METHOD: Final = PairedSelection(allocate=allocate_all, select=select_all, keeps_all=True)
