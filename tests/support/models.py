"""Parts of a checkpoint, whichever family it is of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hired_core.geometry.spec import ModelSpec
from hired_core.language.model import LanguageModel
from hired_core.language.prompts import PromptTemplate
from hired_core.models.registry import family_of, load_spec
from hired_core.vision.tower import VisionTower

__all__ = [
    "in_rows",
    "load_language",
    "load_prompt_template",
    "load_spec",
    "load_vision",
    "weight_counts",
]


def load_vision(spec: ModelSpec, *, device: torch.device, dtype: torch.dtype) -> VisionTower:
    return family_of(spec).load_vision(spec, device=device, dtype=dtype)


def load_language(spec: ModelSpec, **where: Any) -> LanguageModel:
    return family_of(spec).load_language(spec, **where)


def load_prompt_template(spec: ModelSpec) -> PromptTemplate:
    return family_of(spec).load_prompt_template(spec)


def in_rows(weight: Tensor) -> Tensor:
    """Row by row, however it lies in memory."""
    return weight.detach().to_dense() if weight.is_mkldnn else weight.detach()


def weight_counts(spec: ModelSpec) -> tuple[int, int]:
    vision, language = family_of(spec).weights(spec)
    return vision.total, language.total
