"""The names that a user chooses from. Types alone: reading a command line must not load torch."""

from __future__ import annotations

from typing import Literal

__all__ = ["Allocation", "BudgetBasis", "Heads", "Layer", "NewlinePolicy", "Positions"]

Allocation = Literal["initial", "final", "even"]
BudgetBasis = Literal["model", "image"]
Heads = Literal["sum", "none"]
Layer = Literal["initial", "middle", "final"]
NewlinePolicy = Literal["none", "kept-rows", "all"]
Positions = Literal["compact", "original"]
