"""What compute costs. All prices in USD per hour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.rows.errors import ConfigError
from pipeline.settings.config import RunConfig

PRICES_FILE: Final = Path(__file__).parents[1] / "resources" / "prices.yaml"


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Price of one GPU and one CPU core for an hour."""

    gpu_hour_usd: float
    cpu_hour_usd: float

    def usd(self, *, seconds: float, gpus: float, cpus: float) -> float:
        """Cost of holding this much compute for `seconds`."""
        return seconds / 3600 * (gpus * self.gpu_hour_usd + cpus * self.cpu_hour_usd)


def load_prices(run: RunConfig, gpu_name: str | None) -> Prices:
    """Prices from the file that `run` names, or else the list prices; overridden by the flags.

    Args:
        gpu_name: as the device reports it, e.g. "NVIDIA H100 80GB HBM3"; None without a GPU.

    Raises:
        ConfigError: if the file is missing or holds no such prices.
    """
    file = PRICES_FILE if run.prices is None else Path(run.prices)
    try:
        listed = _listed(yaml.safe_load(file.read_text(encoding="utf-8")), gpu_name or "")
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as exc:
        why = " ".join(str(exc).split())
        raise ConfigError(f"prices: cannot read {str(file)!r} ({why})") from exc
    gpu, cpu = run.gpu_hour_price, run.cpu_hour_price
    return Prices(
        gpu_hour_usd=listed.gpu_hour_usd if gpu is None else gpu,
        cpu_hour_usd=listed.cpu_hour_usd if cpu is None else cpu,
    )


def _listed(content: dict[str, Any], gpu_name: str) -> Prices:
    by_name = {name: _price(value) for name, value in content["gpu_hour"].items()}
    otherwise = _price(content["default_gpu_hour"])
    gpu = next((price for name, price in by_name.items() if name in gpu_name), otherwise)
    return Prices(gpu_hour_usd=gpu, cpu_hour_usd=_price(content["cpu_hour"]))


def _price(value: Any) -> float:
    price = float(value)
    if not 0 <= price < math.inf:
        raise ValueError(f"{value} is no price")
    return price
