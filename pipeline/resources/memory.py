"""How much memory a model actor may take, and what its backend makes of it."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import torch

from hired_core.backends.base import GIB, BackendPlan, MemoryLimitError, UnsupportedError
from hired_core.geometry.spec import ModelSpec
from hired_core.vlm.device import CPU_SHARE, GPU_SHARE, gpu_bytes, machine_bytes, max_slots
from hired_core.vlm.sizing import plan_backend, request_sizes
from pipeline.resources.placement import Cluster, Placement
from pipeline.resources.resolved import Resolved
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import JobConfig

ENOUGH = 0.98
"""Of the memory that a plan was made for: what an actor must find to take it as it is."""


def actor_plan(
    config: JobConfig,
    spec: ModelSpec,
    *,
    text_positions: int,
    dtype: torch.dtype,
    device_bytes: int,
    on_gpu: bool,
    fused: bool,
) -> BackendPlan:
    """Of the backend of one language actor.

    Args:
        device_bytes: what the actor may take, of each of its GPUs, unless `memory_limit_gib` says
            otherwise.
        fused: whether the vision tower shares the actor.

    Raises:
        ConfigError: if the limit leaves no room for a single request, or the backend or the decoder
            cannot do what is asked.
    """
    limit = config.run.memory_limit_gib
    try:
        sizes = request_sizes(
            spec,
            config.reduction,
            text_positions=text_positions,
            max_new_tokens=config.generation.max_new_tokens,
            dtype=dtype,
            limit_bytes=device_bytes if limit is None else int(limit * GIB),
            max_slots=config.run.max_slots or max_slots(on_gpu=on_gpu),
            on_gpu=on_gpu,
            images=config.run.batch_size if fused else 0,
            tensor_parallel=config.run.tensor_parallel,
            quantization=config.model.quantization,
        )
        return plan_backend(config.run.backend, sizes, config.generation)
    except MemoryLimitError as exc:
        raise ConfigError(f"memory_limit_gib: {exc}") from exc
    except UnsupportedError as exc:
        raise ConfigError(f"backend: {exc}") from exc
    except ValueError as exc:
        raise ConfigError(f"method: {exc}") from exc


def expected_plan(
    config: JobConfig,
    spec: ModelSpec,
    placement: Placement,
    cluster: Cluster,
    *,
    text_positions: int,
    dtype: torch.dtype,
) -> BackendPlan:
    """That of an actor of this cluster, as far as the driver can tell.

    Raises:
        ConfigError: as `actor_plan`.
    """
    pool, on_gpu = placement.language, cluster.gpus > 0
    share = min(1.0, pool.gpus) if on_gpu else _cpu_share(pool.threads)
    return actor_plan(
        config,
        spec,
        text_positions=text_positions,
        dtype=dtype,
        device_bytes=int(share * (GPU_SHARE * cluster.gpu_bytes if on_gpu else machine_bytes())),
        on_gpu=on_gpu,
        fused=placement.vision is None,
    )


def plan_here(resolved: Resolved, device: torch.device, *, gpus: float) -> BackendPlan:
    """The plan that was resolved; for fewer requests at once where this machine has less memory.

    Raises:
        ConfigError: if it has too little for a single one.
    """
    plan, threads = resolved.backend, resolved.placement.language.threads
    if plan.limit_bytes is None or resolved.config.run.memory_limit_gib is not None:
        return plan
    if device.type == "cpu" and resolved.placement.language.gpus:
        return plan  # The engine's processes hold the GPUs; this one has none to look at.
    found = actor_bytes(device, gpus=gpus, threads=threads)
    if found >= ENOUGH * plan.limit_bytes:
        return plan
    return actor_plan(
        resolved.config,
        resolved.spec,
        text_positions=resolved.text_positions,
        dtype=resolved.dtype,
        device_bytes=found,
        on_gpu=device.type == "cuda",
        fused=resolved.fused,
    )


def with_calls(placement: Placement, plan: BackendPlan, batch_size: int) -> Placement:
    """Batches to run at once in a language actor: those that fill its slots, and one on its way."""
    num_slots = plan.capacity.num_slots
    if num_slots is None:
        return placement
    calls = math.ceil(num_slots / batch_size) + 1
    return replace(placement, language=replace(placement.language, calls=calls))


def actor_bytes(device: torch.device, *, gpus: float, threads: int | None) -> int:
    """The default limit of an actor on this machine: its share of the card, or of the memory."""
    if device.type == "cuda":
        return gpu_bytes(device, min(1.0, gpus))
    return int(_cpu_share(threads) * machine_bytes())


def _cpu_share(threads: int | None) -> float:
    available = len(os.sched_getaffinity(0))
    return CPU_SHARE * min(1.0, (threads or available) / available)
