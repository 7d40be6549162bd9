"""What happens inside: where the host waits, how attention of a step could go, what takes long."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig

from hired_core.vlm.settings import ReductionSettings
from lab.benchmark.contestants.answers import now
from lab.benchmark.contestants.captioner import make_backend
from lab.benchmark.roofline.work import TextShape, text_shape
from lab.device_check.bench import Bench
from lab.device_check.requests import requests_of

_PROMPTS: Final = 8
_REPEATS: Final = 50
_SHOWN: Final = 25


def waits(bench: Bench) -> dict[str, Any]:
    """As torch itself sees them, while prompts are read and texts generated.

    A prompt may wait once, for its first token; ends are looked at every eighth step and as texts
    end, and what was generated is fetched then.
    """
    bench.require_gpu("torch tells of waits for one")
    requests = requests_of(bench.large, bench.images[:_PROMPTS], 0.2)
    backend = make_backend(bench.large, ReductionSettings(budget=0.2), _PROMPTS)
    backend.generate(requests)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            backend.generate(requests)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    told = [each for each in caught if "synchronizing" in str(each.message)]
    places = Counter(f"{Path(each.filename).name}:{each.lineno}" for each in told)
    steps = bench.sizes.max_new_tokens
    most = len(requests) + 2 * (steps // 8 + 1 + len(requests))
    checks = {"no more than what is looked at": len(told) <= most}
    summary = f"{len(told)} waits for {len(requests)} prompts and {steps} steps; {most} expected"
    return {"waits": dict(places), "most": most, "checks": checks, "summary": summary}


def attention(bench: Bench) -> dict[str, Any]:
    """One layer's attention of a decode step: how it is done, and other ways to do it."""
    shape = text_shape(AutoConfig.from_pretrained(bench.large.spec.path))
    slots, length = (64, 704) if bench.on_gpu else (2, 48)
    size = (slots, shape.kv_heads, length, shape.head_dim)
    draw = partial(torch.randn, device=bench.device, dtype=bench.large.dtype)
    keys, values = draw(size), draw(size)
    queries = draw((slots, shape.heads, 1, shape.head_dim))
    ends = torch.arange(length - slots, length, device=bench.device)
    visible = torch.arange(length, device=bench.device) <= ends[:, None]
    ways = _ways(queries, keys, values, visible, ends, on_gpu=bench.on_gpu)
    found: dict[str, Any] = {}
    first = ways["masked, heads as positions (used)"]().float()
    for name, way in ways.items():
        try:
            off = float((way().float().view_as(first) - first).abs().max())
            found[name] = {"us": 1e6 * _sec(way, bench.device), "off": off}
        except Exception as exc:  # Some are not for every build of torch: that is the answer.
            found[name] = {"error": f"{type(exc).__name__}: {exc}"[:300]}
    timed = {name: each["us"] for name, each in found.items() if "us" in each}
    best = min(timed, key=timed.__getitem__)
    moved = 2 * keys.nbytes
    rate = moved / (1e-6 * timed["masked, heads as positions (used)"]) / 1e9
    return {
        "ways": found,
        "ms_of_new_lengths": _new_lengths(bench, shape),
        "summary": f"fastest: {best}; the one used reads {rate:.4g} GB/s",
    }


def _new_lengths(bench: Bench, shape: TextShape) -> dict[str, list[float]]:
    """Milliseconds of the first call at each of a few lengths of a prompt, with cuDNN and without.

    cuDNN makes a plan for every new shape; prompts have many.
    """
    found, lengths = dict[str, list[float]](), range(600, 608) if bench.on_gpu else range(20, 22)
    cuda, before = torch.backends.cuda, torch.backends.cuda.cudnn_sdp_enabled()
    for name, allowed, more in (("as torch chooses", before, 0), ("without cuDNN", False, 8)):
        cuda.enable_cudnn_sdp(allowed)
        found[name] = [_first_call_ms(bench, shape, length + more) for length in lengths]
    cuda.enable_cudnn_sdp(before)
    return found


def _first_call_ms(bench: Bench, shape: TextShape, length: int) -> float:
    draw = partial(torch.randn, device=bench.device, dtype=bench.large.dtype)
    queries = draw((1, shape.heads, length, shape.head_dim))
    keys, values = (draw((1, shape.kv_heads, length, shape.head_dim)) for _ in range(2))
    begun = now(bench.device)
    F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    return 1e3 * (now(bench.device) - begun)


def _ways(
    queries: Tensor, keys: Tensor, values: Tensor, visible: Tensor, ends: Tensor, *, on_gpu: bool
) -> dict[str, Callable[[], Tensor]]:
    mask, groups = visible[:, None, None], keys.shape[1]
    grouped = queries.view(queries.shape[0], groups, -1, queries.shape[-1])
    attend = F.scaled_dot_product_attention
    added = torch.zeros_like(mask, dtype=queries.dtype).masked_fill_(~mask, -torch.inf)
    ways: dict[str, Callable[[], Tensor]] = {
        "masked, heads as positions (used)": lambda: attend(grouped, keys, values, attn_mask=mask),
        "masked by addition": lambda: attend(grouped, keys, values, attn_mask=added),
        "masked, grouped by torch": lambda: attend(
            queries, keys, values, attn_mask=mask, enable_gqa=True
        ),
        "unmasked, for comparison": lambda: attend(queries, keys, values, enable_gqa=True),
    }
    if on_gpu:
        ways["flex attention"] = _flex(queries, keys, values, ends)
    return ways


def _flex(queries: Tensor, keys: Tensor, values: Tensor, ends: Tensor) -> Callable[[], Tensor]:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key <= ends[batch]

    compiled: Callable[..., Tensor] = torch.compile(flex_attention)
    blocks = create_block_mask(
        seen, queries.shape[0], None, 1, keys.shape[2], device=queries.device.type
    )
    return lambda: compiled(queries, keys, values, block_mask=blocks, enable_gqa=True)


def _sec(way: Callable[[], Tensor], device: torch.device) -> float:
    for _ in range(3):
        way()
    begun = now(device)
    for _ in range(_REPEATS):
        way()
    return (now(device) - begun) / _REPEATS


def profile(bench: Bench) -> dict[str, Any]:
    """The kernels that take longest while a few texts are generated."""
    requests = requests_of(bench.large, bench.images[:_PROMPTS], 0.2)
    backend = make_backend(bench.large, ReductionSettings(budget=0.2), _PROMPTS)
    backend.generate(requests)
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if bench.on_gpu:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    begun = time.perf_counter()
    with torch.profiler.profile(activities=kinds) as trace:
        backend.generate(requests)
    sec = time.perf_counter() - begun
    by = "self_device_time_total" if bench.on_gpu else "self_cpu_time_total"
    kernels = sorted(trace.key_averages(), key=lambda each: -getattr(each, by))
    top = [
        {"name": each.key[:120], "us": getattr(each, by), "calls": each.count}
        for each in kernels[:_SHOWN]
    ]
    busy = sum(getattr(each, by) for each in kernels) / 1e6
    return {"top": top, "busy_sec": busy, "sec": sec, "summary": f"first: {top[0]['name']}"}
