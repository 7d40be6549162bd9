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
from hired_core.vlm.settings import ReductionSettings
from pipeline.resources.gpus import find_gpu
from pipeline.resources.placement import Cluster
from pipeline.settings.config import JobConfig

TEXT_TOKENS: Final = 64
"""Prompt tokens assumed beside the image."""


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
    nominal, new = spec.nominal_tokens, config.generation.max_new_tokens
    length = _mean_visual(config.reduction, spec) + TEXT_TOKENS
    vision = 2 * spec.vision_params * spec.geometry.max_encoded
    return Estimate(
        tokens=config.reduction.num_after(nominal),
        flops=vision + 2 * spec.text_params * (length + new),
    )


def _mean_visual(reduction: ReductionSettings, spec: ModelSpec) -> float:
    """Visual tokens that a layer of the decoder sees, averaged over layers."""
    before = reduction.num_before(spec.nominal_tokens)
    schedule = reduction.schedule(spec.nominal_tokens, spec.num_text_layers)
    if schedule is None:
        return before
    pairs = zip(schedule.segments(spec.num_text_layers), schedule.dropped(before), strict=True)
    return sum(len(layers) * (before - gone) for layers, gone in pairs) / spec.num_text_layers


def device_flops(cluster: Cluster) -> float:
    """FLOP/s of all GPUs by data sheet; without one, of this machine's CPUs as measured now."""
    if cluster.gpu_name is not None:
        return cluster.gpus * 1e12 * find_gpu(cluster.gpu_name).tflops
    a = torch.randn(1024, 1024)
    _ = a @ a
    started, repeats = time.perf_counter(), 8
    for _ in range(repeats):
        _ = a @ a
    return repeats * 2 * 1024**3 / (time.perf_counter() - started)
