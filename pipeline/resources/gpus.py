"""GPUs by name: the one table of what they have and cost.

Data sheets give the figures; prices are on-demand list prices, rounded. Users have their own in a
file: see `pipeline.accounting.cost`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One card.

    Attributes:
        memory_gb: of 10**9 bytes.
        gb_per_sec: memory bandwidth.
        tflops: dense matrix products in half precision, without sparsity.
        hour_usd: what an hour of it costs.
    """

    memory_gb: int
    gb_per_sec: int
    tflops: int
    hour_usd: float


_A100_80: Final = Gpu(memory_gb=80, gb_per_sec=1935, tflops=312, hour_usd=2.20)

# fmt: off
GPUS: Final[dict[str, Gpu]] = {
    "H200":      Gpu(memory_gb=141, gb_per_sec=4800, tflops=989, hour_usd=4.50),
    "H100":      Gpu(memory_gb=80,  gb_per_sec=3350, tflops=989, hour_usd=3.50),
    "A100":      Gpu(memory_gb=40,  gb_per_sec=1555, tflops=312, hour_usd=2.20),
    "A100 80GB": _A100_80,
    "A100 80G":  _A100_80,  # as Ray calls it
    "L40S":      Gpu(memory_gb=48,  gb_per_sec=864,  tflops=362, hour_usd=1.60),
    "L4":        Gpu(memory_gb=24,  gb_per_sec=300,  tflops=121, hour_usd=0.80),
    "A10":       Gpu(memory_gb=24,  gb_per_sec=600,  tflops=125, hour_usd=1.00),
    "A10G":      Gpu(memory_gb=24,  gb_per_sec=600,  tflops=70,  hour_usd=1.00),
    "T4":        Gpu(memory_gb=16,  gb_per_sec=320,  tflops=65,  hour_usd=0.40),
}
# fmt: on

CPU_HOUR_USD: Final = 0.05
"""What an hour of one CPU core costs."""

OTHER_GPU: Final = Gpu(memory_gb=24, gb_per_sec=600, tflops=100, hour_usd=2.00)
"""What is assumed of a card that the table does not have."""


def find_gpu(device_name: str) -> Gpu:
    """The row of a device, by the name that it gives itself: "NVIDIA H100 80GB HBM3" is an H100."""
    name = match_name(device_name, GPUS)
    return OTHER_GPU if name is None else GPUS[name]


def match_name(device_name: str, names: Iterable[str]) -> str | None:
    """Which of `names` is meant: the longest whose words are all among those of the device's.

    Whole words, in any case and order: "L4" is not in "NVIDIA L40S", but "A100 80GB" is in "NVIDIA
    A100-SXM4-80GB". Of several as long the first one; None if there is none.
    """
    words = _words(device_name)
    fitting = [name for name in names if _words(name) and _words(name) <= words]
    return max(fitting, key=lambda name: len(_words(name)), default=None)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))
