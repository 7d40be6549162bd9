"""What a job will take, by arithmetic, before it runs: tokens, least time, least cost.

The time is a lower bound: the multiplications alone, at the rate of the device's own matrix
products. Real runs take longer; a first `--limit 100` run tells by how much.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import torch

from hired_core.geometry.spec import ModelSpec
from hired_core.methods.budget import token_budget_to_count
from pipeline.resources.placement import Cluster
from pipeline.settings.config import JobConfig

GIB: Final = 1024**3
TEXT_TOKENS: Final = 64
"""Prompt tokens assumed beside the image."""

# Dense half-precision matrix products, from the vendors' data sheets; TFLOP/s.
GPU_TFLOPS: Final = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "A10": 125}
DEFAULT_GPU_TFLOPS: Final = 100


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """For one image of the largest grid.

    Attributes:
        tokens: visual tokens that reach the language model.
        flops: of vision, prefill and decoding of all `max_new_tokens`.
    """

    tokens: int
    flops: float


def estimate(config: JobConfig, spec: ModelSpec) -> Estimate:
    """By the budget, the geometry and the number of weights alone."""
    nominal = spec.nominal_tokens
    count = token_budget_to_count(config.reduction.token_budget, nominal=nominal, own=nominal)
    tokens = nominal if count is None else min(count, nominal)
    new = config.generation.max_new_tokens
    length = tokens + TEXT_TOKENS
    vision = 2 * spec.vision_params * spec.max_partitions * (spec.num_patches + 1)
    return Estimate(
        tokens=tokens,
        flops=vision + 2 * spec.text_params * (length + new),
    )


def device_flops(cluster: Cluster) -> float:
    """FLOP/s of all GPUs by data sheet; without one, of this machine's CPUs as measured now."""
    if cluster.gpu_name is not None:
        known = (v for name, v in GPU_TFLOPS.items() if name in (cluster.gpu_name or ""))
        return cluster.gpus * 1e12 * next(known, DEFAULT_GPU_TFLOPS)
    a = torch.randn(1024, 1024)
    _ = a @ a
    started, repeats = time.perf_counter(), 8
    for _ in range(repeats):
        _ = a @ a
    return repeats * 2 * 1024**3 / (time.perf_counter() - started)
