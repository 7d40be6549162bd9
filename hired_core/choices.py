"""The names that a user chooses from. Types alone: reading a command line must not load torch."""

from __future__ import annotations

from typing import Literal

__all__ = ["BackendName", "BudgetBasis", "Layer", "NewlinePolicy", "Positions"]

BackendName = Literal["slots", "reference"]
BudgetBasis = Literal["model", "image"]
Layer = Literal["initial", "middle", "final"]
NewlinePolicy = Literal["none", "kept-rows", "all"]
Positions = Literal["compact", "original"]
