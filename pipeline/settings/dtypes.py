"""Which floating-point type a model computes in."""

from __future__ import annotations

from typing import Final

import torch

from pipeline.settings.config import ModelConfig

DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


def compute_dtype(model: ModelConfig, stored: str, device: torch.device) -> torch.dtype:
    """float32 on CPUs unless told otherwise; on GPUs half precision, as stored."""
    if model.dtype != "auto":
        return DTYPES[model.dtype]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if stored == "bfloat16" else torch.float16
