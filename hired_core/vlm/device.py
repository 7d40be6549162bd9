"""What a model takes of a device where the settings leave it open: type, memory, slots."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

DTYPES: Final = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

GPU_SHARE: Final = 0.9
"""Of a card's memory: CUDA itself and fragmentation take the rest."""
CPU_SHARE: Final = 0.5
"""Of a machine's memory: what else runs there, and the system, live in the rest."""

MAX_SLOTS_GPU: Final = 256
MAX_SLOTS_CPU: Final = 16
"""Beyond, a step's time grows with the slots: nothing is gained but waiting."""

MAX_PROMPT_TOKENS: Final = 512
"""Of a prompt that is not known beforehand, its chat template included."""

_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")


def compute_dtype(asked: str, stored: str, device: torch.device) -> torch.dtype:
    """float32 on CPUs unless told otherwise; on GPUs half precision, as stored.

    Args:
        asked: "auto" or a key of `DTYPES`.
        stored: of the weights, e.g. "float16".
    """
    if asked != "auto":
        return DTYPES[asked]
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if stored == "bfloat16" else torch.float16


def max_slots(*, on_gpu: bool) -> int:
    """Requests at once, if memory allows."""
    return MAX_SLOTS_GPU if on_gpu else MAX_SLOTS_CPU


def device_bytes(device: torch.device) -> int:
    """What a model may take of this machine's device by default."""
    if device.type == "cuda":
        return gpu_bytes(device)
    return int(CPU_SHARE * machine_bytes())


def gpu_bytes(device: torch.device, share: float = 1.0) -> int:
    """Of a card, or of a share of it; no more than is free or already this process's own."""
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.memory_reserved(device)
    return min(int(GPU_SHARE * share * total), free + own)


def machine_bytes() -> int:
    """Memory of this machine, or of the container it is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # No cgroup, or "max".
        return min(total, int(_CGROUP.read_text()))
    return total
