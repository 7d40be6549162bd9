"""The names that a user chooses from. Types: reading a command line must not load torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = [
    "DEFAULT_METHOD",
    "Allocation",
    "BackendName",
    "BudgetBasis",
    "Layer",
    "LayerAt",
    "NewlinePolicy",
    "Pairs",
    "Positions",
    "Quantization",
    "WeightFormat",
]

DEFAULT_METHOD: Final = "distinct"
"""The best there is without training, by results/accuracy.md; `hired` is the paper's."""

Allocation = Literal["equal", "content", "globalcom2", "global"]
BackendName = Literal["slots", "reference", "vllm"]
BudgetBasis = Literal["model", "image"]
Layer = Literal["initial", "middle", "final"]
LayerAt = Layer | float
"""By name, or as a fraction of the way from the initial to the final layer."""
NewlinePolicy = Literal["none", "kept-rows", "all"]
Pairs = Literal["partition", "image"]
"""Visual tokens of what are compared with each other, all with all."""
Positions = Literal["compact", "original"]
WeightFormat = Literal["int8", "fp8"]
"""Of eight bits: integers, or floating point with 4 bits of exponent and 3 of mantissa."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """Which half's weights are stored in eight bits; None: as the model computes."""

    decoder: WeightFormat | None = None
    vision: WeightFormat | None = None
