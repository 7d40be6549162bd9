"""The table of GPUs, and devices found in it by the names that drivers and Ray give them."""

from __future__ import annotations

import pytest

from pipeline.resources.gpus import GPUS, OTHER_GPU, Gpu, find_gpu, match_name


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB"),
        ("A100-80G", "A100 80G"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A10G", "A10G"),
        ("Tesla T4", "T4"),
        ("tesla t4", "T4"),
    ],
)
def test_a_device_is_found_by_its_name(device: str, name: str) -> None:
    assert match_name(device, GPUS) == name
    assert find_gpu(device) is GPUS[name]


@pytest.mark.parametrize(
    "device", ["", "unknown", "NVIDIA L40", "NVIDIA T400", "Quadro GV100", "80GB"]
)
def test_a_part_of_a_word_is_no_name(device: str) -> None:
    assert match_name(device, GPUS) is None
    assert find_gpu(device) is OTHER_GPU


def test_the_longest_name_is_meant_and_of_equals_the_first() -> None:
    assert match_name("NVIDIA A100 80GB", ["A100", "80GB A100", "NVIDIA A100"]) == "80GB A100"
    assert match_name("a b", ["b", "a"]) == "b"
    assert match_name("a", ["", "-"]) is None


def test_the_figures_are_those_of_the_data_sheets() -> None:
    """Memory GB, bandwidth GB/s, dense half-precision TFLOP/s."""
    sheet = {
        "H200": (141, 4800, 989),
        "H100": (80, 3350, 989),
        "A100": (40, 1555, 312),
        "A100 80GB": (80, 1935, 312),
        "L40S": (48, 864, 362),
        "L4": (24, 300, 121),
        "A10": (24, 600, 125),
        "A10G": (24, 600, 70),
        "T4": (16, 320, 65),
    }
    found = {name: _figures(gpu) for name, gpu in GPUS.items() if name != "A100 80G"}
    assert found == sheet
    assert all(gpu.hour_usd > 0 for gpu in (*GPUS.values(), OTHER_GPU))


def _figures(gpu: Gpu) -> tuple[int, int, int]:
    return gpu.memory_gb, gpu.gb_per_sec, gpu.tflops
