"""What compute costs. All prices in USD per hour.

List prices are in the table of `pipeline.resources.gpus`. A file of a user's own has

    cpu_hour: 0.05
    gpu_hour: {H100: 3.50, L40S: 1.60}
    default_gpu_hour: 2.00

with GPUs matched by name as in the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.resources.gpus import CPU_HOUR_USD, find_gpu, match_name
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Price of one GPU and one CPU core for an hour."""

    gpu_hour_usd: float
    cpu_hour_usd: float

    def usd(self, *, seconds: float, gpus: float, cpus: float) -> float:
        """Cost of holding this much compute for `seconds`."""
        return seconds / 3600 * (gpus * self.gpu_hour_usd + cpus * self.cpu_hour_usd)


def load_prices(run: RunConfig, gpu_name: str | None) -> Prices:
    """List prices, or those of the file that `run` names, overridden by the flags.

    Args:
        gpu_name: as the device reports it, e.g. "NVIDIA H100 80GB HBM3"; None without a GPU.

    Raises:
        ConfigError: if the file is missing or holds no such prices.
    """
    name = gpu_name or ""
    listed = _shipped(name) if run.prices is None else _of_file(Path(run.prices), name)
    gpu, cpu = run.gpu_hour_price, run.cpu_hour_price
    return Prices(
        gpu_hour_usd=listed.gpu_hour_usd if gpu is None else gpu,
        cpu_hour_usd=listed.cpu_hour_usd if cpu is None else cpu,
    )


def _shipped(gpu_name: str) -> Prices:
    return Prices(gpu_hour_usd=find_gpu(gpu_name).hour_usd, cpu_hour_usd=CPU_HOUR_USD)


def _of_file(file: Path, gpu_name: str) -> Prices:
    try:
        return _listed(yaml.safe_load(file.read_text(encoding="utf-8")), gpu_name)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as exc:
        why = " ".join(str(exc).split())
        raise ConfigError(f"prices: cannot read {str(file)!r} ({why})") from exc


def _listed(content: dict[str, Any], gpu_name: str) -> Prices:
    by_name = {name: _price(value) for name, value in content["gpu_hour"].items()}
    otherwise = _price(content["default_gpu_hour"])
    name = match_name(gpu_name, by_name)
    gpu = otherwise if name is None else by_name[name]
    return Prices(gpu_hour_usd=gpu, cpu_hour_usd=_price(content["cpu_hour"]))


def _price(value: Any) -> float:
    price = float(value)
    if not 0 <= price < math.inf:
        raise ValueError(f"{value} is no price")
    return price
