"""What compute costs. All prices in USD per hour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.config import RunConfig
from pipeline.errors import ConfigError

PRICES_FILE: Final = Path(__file__).parents[1] / "configs" / "prices.yaml"


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Price of one GPU and one CPU core for an hour."""

    gpu_hour_usd: float
    cpu_hour_usd: float

    def usd(self, *, seconds: float, gpus: float, cpus: float) -> float:
        """Cost of holding this much compute for `seconds`."""
        return seconds / 3600 * (gpus * self.gpu_hour_usd + cpus * self.cpu_hour_usd)


def load_prices(run: RunConfig, gpu_name: str | None, file: Path = PRICES_FILE) -> Prices:
    """Prices from `file`, overridden by the flags.

    Args:
        gpu_name: as the device reports it, e.g. "NVIDIA H100 80GB HBM3"; None without a GPU.

    Raises:
        ConfigError: if the file is missing or holds no such prices.
    """
    listed = _read(file)
    gpu = run.gpu_hour_price
    cpu = run.cpu_hour_price
    return Prices(
        gpu_hour_usd=_gpu_price(listed, gpu_name or "") if gpu is None else gpu,
        cpu_hour_usd=float(listed["cpu_hour"]) if cpu is None else cpu,
    )


def _gpu_price(listed: dict[str, Any], gpu_name: str) -> float:
    matches = (price for name, price in listed["gpu_hour"].items() if name in gpu_name)
    return float(next(matches, listed["default_gpu_hour"]))


def _read(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        _ = content["cpu_hour"], content["gpu_hour"].items(), content["default_gpu_hour"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigError(f"{file.name}: cannot read prices ({exc})") from exc
    return content
