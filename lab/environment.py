"""What the figures depend on beside the code."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch

_PACKAGES: Final = ("torch", "transformers", "tokenizers", "numpy", "pillow", "ray")
_FLAGS: Final = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_fp16",
    "avx512_vnni",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
)


def environment(device: torch.device) -> dict[str, Any]:
    """Processor, threads, versions and, if it is one, the GPU; "load" says what ran beside."""
    cpu = _cpu_info()
    flags = set(cpu.get("flags", "").split())
    return {
        "device": str(device),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": cpu.get("model name", platform.processor()),
        "cpu_flags": [flag for flag in _FLAGS if flag in flags],
        "machine": platform.machine(),
        "load": os.getloadavg()[0],
        "torch_threads": torch.get_num_threads(),
        "gpu": _gpu(device) if device.type == "cuda" else None,
        "versions": {"python": platform.python_version()} | _versions(),
    }


def _cpu_info() -> dict[str, str]:
    """/proc/cpuinfo of the first processor; {} where there is none."""
    path = Path("/proc/cpuinfo")
    first = path.read_text().partition("\n\n")[0] if path.is_file() else ""
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _gpu(device: torch.device) -> dict[str, Any]:
    found = torch.cuda.get_device_properties(device)
    return {
        "name": found.name,
        "memory_bytes": found.total_memory,
        "capability": f"{found.major}.{found.minor}",
        "cuda": torch.version.cuda,
    }


def _versions() -> dict[str, str]:
    """Of the packages that are there; a machine for measuring need not have Ray."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
