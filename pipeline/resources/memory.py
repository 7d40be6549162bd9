"""How much memory a model actor may take, and how many slots that gives its engine."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from hired_core.backends.slots.memory import (
    GIB,
    MemoryLimitError,
    SlotLayout,
    lay_out_slots,
)
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.budget import token_budget_to_count
from hired_core.models.registry import family_of
from pipeline.resources.defaults import CPU_SHARE, GPU_SHARE, MAX_SLOTS_CPU, MAX_SLOTS_GPU
from pipeline.resources.placement import Cluster, Placement
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import CaptionConfig, JobConfig
from pipeline.settings.dtypes import compute_dtype

_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")


def engine_plan(
    config: JobConfig,
    spec: ModelSpec,
    *,
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
        ConfigError: if the limit leaves no room for a single slot.
    """
    vision, language = family_of(spec).weight_counts(spec)
    limit = config.run.memory_limit_gib
    try:
        return lay_out_slots(
            spec,
            max_length=max_length(config, spec),
            value_bytes=dtype.itemsize,
            weight_bytes=dtype.itemsize * (language + (vision if fused else 0)),
            limit_bytes=device_bytes if limit is None else int(limit * GIB),
            max_slots=config.run.max_slots or (MAX_SLOTS_GPU if on_gpu else MAX_SLOTS_CPU),
            on_gpu=on_gpu,
            images=config.run.batch_size if fused else 0,
            rotary_length=rotary_length(config, spec),
        )
    except MemoryLimitError as exc:
        raise ConfigError(f"memory_limit_gib: {exc}") from exc


def max_length(config: JobConfig, spec: ModelSpec) -> int:
    """L: the most positions a request of this job can take; no more than the model has."""
    selection = config.reduction
    nominal = spec.nominal_tokens
    count = token_budget_to_count(selection.token_budget, nominal=nominal, own=nominal)
    kept = nominal if count is None else min(count, nominal)
    visual = spec.max_visual_positions(
        kept, selection.newline_policy, transposed_grid=selection.transposed_grid
    )
    return _with_text(visual, config, spec)


def rotary_length(config: JobConfig, spec: ModelSpec) -> int | None:
    """Rotary positions up to which a request of this job can come; None: those of a slot."""
    if config.reduction.effective_positions == "compact":
        return None
    transposed = config.reduction.transposed_grid
    nominal = spec.nominal_tokens
    visual = spec.max_visual_positions(nominal, "all", transposed_grid=transposed)
    return _with_text(visual, config, spec)


def _with_text(visual: int, config: JobConfig, spec: ModelSpec) -> int:
    wanted = visual + _text_positions(config, spec) + config.generation.max_new_tokens
    return min(wanted, spec.max_context)


def _text_positions(config: JobConfig, spec: ModelSpec) -> int:
    question = config.question
    if not isinstance(question, CaptionConfig) or question.prompt_column is not None:
        return config.run.max_prompt_tokens
    before, after = family_of(spec).load_prompt_template(spec).token_ids(question.prompt)
    return len(before) + len(after)


def expected_plan(
    config: JobConfig, spec: ModelSpec, placement: Placement, cluster: Cluster
) -> SlotLayout | None:
    """The plan of an actor of this cluster, as far as the driver can tell; None without slots.

    Raises:
        ConfigError: as `engine_plan`.
    """
    if config.run.backend != "slots":
        return None
    pool, on_gpu = placement.language, cluster.gpus > 0
    device = torch.device("cuda" if on_gpu else "cpu")
    share = min(1.0, pool.gpus) if on_gpu else _cpu_share(pool.threads)
    return engine_plan(
        config,
        spec,
        dtype=compute_dtype(config.model, spec.stored_dtype, device),
        device_bytes=int(share * (GPU_SHARE * cluster.gpu_bytes if on_gpu else node_bytes())),
        on_gpu=on_gpu,
        fused=placement.vision is None,
    )


def with_calls(placement: Placement, plan: SlotLayout | None, batch_size: int) -> Placement:
    """Batches to run at once in a language actor: those that fill its slots, and one on its way."""
    if plan is None:
        return placement
    calls = math.ceil(plan.num_slots / batch_size) + 1
    return replace(placement, language=replace(placement.language, calls=calls))


def actor_bytes(device: torch.device, *, gpus: float, threads: int | None) -> int:
    """The default limit of an actor on this machine: its share of the card, or of the memory."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return int(GPU_SHARE * total * min(1.0, gpus))
    return int(_cpu_share(threads) * node_bytes())


def _cpu_share(threads: int | None) -> float:
    available = len(os.sched_getaffinity(0))
    return CPU_SHARE * min(1.0, (threads or available) / available)


def node_bytes() -> int:
    """Memory of this machine, or of the container it is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # No cgroup, or "max".
        return min(total, int(_CGROUP.read_text()))
    return total
