"""Allocations that methods share: how many visual tokens each partition gets."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hired_core.methods.base import Evidence
from hired_core.methods.budget import allocate_evenly


def allocate_all(evidence: Evidence, budget: Tensor, options: Any) -> Tensor:
    """Every valid token, whatever the budget: the dense model."""
    return evidence.capacities


def allocate_equally(evidence: Evidence, budget: Tensor, options: Any) -> Tensor:
    """The same for every partition, the full-image among them."""
    return allocate_evenly(evidence.capacities, budget)
