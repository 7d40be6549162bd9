"""What the machine gives to training: its device, its number format, its compiler, its cores."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch

__all__ = ["can_compile", "has_bfloat16", "num_feeders", "pick_device", "precision"]


def pick_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """True where products of bfloat16 are fast, as any GPU is taken to have them.

    On CPUs without them they take dozens of times longer than those of float32.
    """
    if device.type != "cpu":
        return True
    # A torch that cannot tell gets float32, which is right everywhere.
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def precision(device: torch.device) -> torch.autocast:
    """Products in bfloat16 where they are fast, else everything in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_bfloat16(device))


def can_compile(device: torch.device) -> bool:
    """True when torch.compile finds its compiler; training is slower without one."""
    return device.type != "cpu" or shutil.which(os.environ.get("CXX", "g++")) is not None


def num_feeders(device: torch.device) -> int:
    """Processes that make batches: one beside a training CPU, most cores for a GPU."""
    return 1 if device.type == "cpu" else max(1, (os.cpu_count() or 1) - 2)
