"""Prices: from the file, overridden by flags, and multiplied by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.accounting.cost import Prices, load_prices
from pipeline.resources.gpus import OTHER_GPU
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import RunConfig

TEXT = """\
cpu_hour: 0.05
gpu_hour:
  L40S: 1.6
  L4: 0.8
default_gpu_hour: 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(TEXT)
    return path


def test_cost_is_time_by_what_is_held() -> None:
    prices = Prices(gpu_hour_usd=3.6, cpu_hour_usd=0.36)
    # 100 s: 2 GPUs at 0.001 USD/s and 5 CPUs at 0.0001 USD/s.
    assert prices.usd(seconds=100, gpus=2, cpus=5) == pytest.approx(0.25)
    assert prices.usd(seconds=3600, gpus=0, cpus=1) == pytest.approx(0.36)
    assert prices.usd(seconds=0, gpus=8, cpus=8) == 0


@pytest.mark.parametrize(
    ("gpu_name", "usd"), [("NVIDIA L40S", 1.6), ("NVIDIA L4", 0.8), ("Unheard Of", 2.0)]
)
def test_gpus_are_found_by_name(file: Path, gpu_name: str, usd: float) -> None:
    assert load_prices(RunConfig(prices=str(file)), gpu_name) == Prices(
        gpu_hour_usd=usd, cpu_hour_usd=0.05
    )


def test_list_prices_of_a_better_gpu_are_higher() -> None:
    by_name = {
        name: load_prices(RunConfig(), name).gpu_hour_usd
        for name in ("NVIDIA H200", "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-40GB", "Tesla T4")
    }
    assert sorted(by_name.values(), reverse=True) == list(by_name.values())
    assert load_prices(RunConfig(), "Unheard Of").gpu_hour_usd == OTHER_GPU.hour_usd
    assert 0 < load_prices(RunConfig(), None).cpu_hour_usd < min(by_name.values())


def test_flags_override_the_file_even_with_zero(file: Path) -> None:
    run = RunConfig(gpu_hour_price=0.0, cpu_hour_price=0.01, prices=str(file))
    assert load_prices(run, "NVIDIA L4") == Prices(gpu_hour_usd=0.0, cpu_hour_usd=0.01)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "a: [",
        "cpu_hour: 1\n",
        TEXT.replace("0.05", "much"),
        TEXT.replace("0.05", "null"),
        TEXT.replace("0.8", "-0.8"),
        TEXT.replace("default_gpu_hour: 2", "default_gpu_hour: .inf"),
        TEXT.replace("L4: 0.8", "L4: [0.8]"),
    ],
)
def test_a_file_without_prices_is_a_configuration_error(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"^prices: cannot read '.*/prices\.yaml' \("):
        load_prices(RunConfig(prices=str(file)), "NVIDIA L4")


def test_a_missing_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^prices: cannot read '.*/gone\.yaml' \(.*No such file"):
        load_prices(RunConfig(prices=str(tmp_path / "gone.yaml")), None)
