"""What the machine is and what it reaches at best."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoConfig

from lab.benchmark.contestants.answers import now
from lab.benchmark.roofline.ceilings import measure_ceilings
from lab.benchmark.roofline.work import text_shape, vision_shape
from lab.device_check.bench import Bench, Skipped
from lab.environment import environment

_PARTITIONS: Final = 5
_LENGTH: Final = 704
_GPU_TESTS: Final = ("tests/unit/hired_core/backends", "tests/unit/hired_core/vlm")
_TESTS_SEC: Final = 75


def machine(bench: Bench) -> dict[str, Any]:
    """Versions, kernels of attention in the order in which they are tried, memory."""
    found = environment(bench.device)
    cuda = torch.backends.cuda
    kinds = ("flash", "mem_efficient", "math", "cudnn")
    found["attention"] = {kind: getattr(cuda, f"{kind}_sdp_enabled")() for kind in kinds}
    order = getattr(torch._C, "_get_sdp_priority_order", None)
    found["attention_order"] = order() if order is not None else "torch does not tell"
    found["tf32"] = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "products": cuda.matmul.allow_tf32,
    }
    names = ("vllm", "flash_attn", "flashinfer", "triton", "torchao", "ray", "pytest")
    found["packages"] = [name for name in names if importlib.util.find_spec(name) is not None]
    if bench.on_gpu:
        found["memory_free_total"] = torch.cuda.mem_get_info(bench.device)
        found["cudnn"] = torch.backends.cudnn.version()
    gpu = found.get("gpu") or {"name": "no GPU"}
    return found | {"summary": f"{gpu['name']}, torch {found['versions']['torch']}"}


def ceilings(bench: Bench) -> dict[str, Any]:
    """Products at the large model's shapes, memory, and copies from the host."""
    subject = bench.large
    config = AutoConfig.from_pretrained(subject.spec.path)
    best = measure_ceilings(
        vision_shape(config.vision_config, subject.spec.feature_layer),
        text_shape(config),
        partitions=_PARTITIONS if bench.on_gpu else 1,
        length=_LENGTH if bench.on_gpu else 32,
        device=bench.device,
        dtype=subject.dtype,
        copy_bytes=2**30 if bench.on_gpu else 2**22,
    )
    found = asdict(best) | {"upload_bytes_per_sec": _upload_rate(bench)}
    tera = best.prefill_flop_per_sec / 1e12
    summary = f"{tera:.3g} TFLOP/s, {best.bytes_per_sec / 1e9:.4g} GB/s"
    return found | {"summary": summary}


def _upload_rate(bench: Bench) -> float:
    """Bytes per second from pinned memory; from plain memory on a CPU."""
    size = 2**28 if bench.on_gpu else 2**20
    source = torch.empty(size, dtype=torch.uint8, pin_memory=bench.on_gpu)
    target = torch.empty(size, dtype=torch.uint8, device=bench.device)
    best = float("inf")
    for _ in range(5):
        begun = now(bench.device)
        target.copy_(source, non_blocking=True)
        best = min(best, now(bench.device) - begun)
    return size / best


def gpu_tests(bench: Bench) -> dict[str, Any]:
    """The suite's own tests that carry the mark; in a process of its own."""
    bench.require_gpu("these tests are of one")
    root = Path(__file__).parents[3]
    missing = [path for path in _GPU_TESTS if not (root / path).is_dir()]
    if importlib.util.find_spec("pytest") is None or missing:
        raise Skipped("pytest or the tests are not here")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *_GPU_TESTS], cwd=root, capture_output=True, text=True, timeout=_TESTS_SEC
        )
    except subprocess.TimeoutExpired:
        raise Skipped(f"not done after {_TESTS_SEC} s") from None
    tail = done.stdout.splitlines()[-15:] + done.stderr.splitlines()[-5:]
    last = tail[-1] if tail else ""
    return {"checks": {"tests pass": done.returncode == 0}, "tail": tail, "summary": last}
