"""How much memory a model actor may take, and how many slots that gives its engine."""

from __future__ import annotations

import math
import os
from dataclasses import replace

import torch

from hired_core.backends.slots.memory import GIB, MemoryLimitError, SlotLayout
from hired_core.geometry.spec import ModelSpec
from hired_core.vlm.device import CPU_SHARE, GPU_SHARE, machine_bytes, max_slots
from hired_core.vlm.sizing import slot_layout
from pipeline.resources.placement import Cluster, Placement
from pipeline.resources.resolved import Resolved
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import JobConfig

ENOUGH = 0.98
"""Of the memory that a layout was made for: what an actor must find to take it as it is."""


def actor_layout(
    config: JobConfig,
    spec: ModelSpec,
    *,
    text_positions: int,
    dtype: torch.dtype,
    device_bytes: int,
    on_gpu: bool,
    fused: bool,
) -> SlotLayout:
    """The slots of one language actor.

    Args:
        device_bytes: what the actor may take unless `memory_limit_gib` says otherwise.
        fused: whether the vision tower shares the actor.

    Raises:
        ConfigError: if the limit leaves no room for a single slot, or the decoder cannot do what
            the method asks.
    """
    limit = config.run.memory_limit_gib
    try:
        return slot_layout(
            spec,
            config.reduction,
            text_positions=text_positions,
            max_new_tokens=config.generation.max_new_tokens,
            dtype=dtype,
            limit_bytes=device_bytes if limit is None else int(limit * GIB),
            max_slots=config.run.max_slots or max_slots(on_gpu=on_gpu),
            on_gpu=on_gpu,
            images=config.run.batch_size if fused else 0,
            masked=config.generation.form is not None,
            quantization=config.model.quantization,
        )
    except MemoryLimitError as exc:
        raise ConfigError(f"memory_limit_gib: {exc}") from exc
    except ValueError as exc:
        raise ConfigError(f"method: {exc}") from exc


def expected_layout(
    config: JobConfig,
    spec: ModelSpec,
    placement: Placement,
    cluster: Cluster,
    *,
    text_positions: int,
    dtype: torch.dtype,
) -> SlotLayout | None:
    """That of an actor of this cluster, as far as the driver can tell; None without slots.

    Raises:
        ConfigError: as `actor_layout`.
    """
    if config.run.backend != "slots":
        if config.reduction.schedule(spec.nominal_tokens, spec.num_text_layers) is not None:
            method = config.reduction.llm_method or config.reduction.method
            raise ConfigError(
                f"backend: {config.run.backend} cannot drop tokens between layers, as {method} "
                "does; leave it out"
            )
        return None
    pool, on_gpu = placement.language, cluster.gpus > 0
    share = min(1.0, pool.gpus) if on_gpu else _cpu_share(pool.threads)
    return actor_layout(
        config,
        spec,
        text_positions=text_positions,
        dtype=dtype,
        device_bytes=int(share * (GPU_SHARE * cluster.gpu_bytes if on_gpu else machine_bytes())),
        on_gpu=on_gpu,
        fused=placement.vision is None,
    )


def layout_here(resolved: Resolved, device: torch.device, *, gpus: float) -> SlotLayout | None:
    """The layout that was resolved; with fewer slots where this machine has less memory.

    Raises:
        ConfigError: if it has too little for a single slot.
    """
    layout, threads = resolved.layout, resolved.placement.language.threads
    if layout is None or resolved.config.run.memory_limit_gib is not None:
        return layout
    found = actor_bytes(device, gpus=gpus, threads=threads)
    if found >= ENOUGH * layout.limit_bytes:
        return layout
    return actor_layout(
        resolved.config,
        resolved.spec,
        text_positions=resolved.text_positions,
        dtype=resolved.dtype,
        device_bytes=found,
        on_gpu=device.type == "cuda",
        fused=resolved.fused,
    )


def with_calls(placement: Placement, layout: SlotLayout | None, batch_size: int) -> Placement:
    """Batches to run at once in a language actor: those that fill its slots, and one on its way."""
    if layout is None:
        return placement
    calls = math.ceil(layout.num_slots / batch_size) + 1
    return replace(placement, language=replace(placement.language, calls=calls))


def actor_bytes(device: torch.device, *, gpus: float, threads: int | None) -> int:
    """The default limit of an actor on this machine: its share of the card, or of the memory."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return int(GPU_SHARE * total * min(1.0, gpus))
    return int(_cpu_share(threads) * machine_bytes())


def _cpu_share(threads: int | None) -> float:
    available = len(os.sched_getaffinity(0))
    return CPU_SHARE * min(1.0, (threads or available) / available)
