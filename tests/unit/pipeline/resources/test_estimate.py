"""Memory and least time, multiplied by hand."""

from __future__ import annotations

import dataclasses

import pytest

from hired_core.geometry.spec import ModelSpec
from hired_core.language.generation import GenerationSettings
from pipeline.resources.estimate import TEXT_TOKENS, device_flops, estimate
from pipeline.resources.placement import Cluster
from pipeline.settings.config import (
    InputConfig,
    JobConfig,
    OutputConfig,
)
from tests.support.geometry import anyres
from tests.support.models import load_spec
from tests.support.settings import reduction

# LLaVA-Next-7B in round numbers: 5 partitions of 576 patches.
SPEC = dataclasses.replace(
    load_spec("embedded"),
    geometry=anyres(((336, 672), (672, 672)), 336),
    vision_params=1000,
    text_params=7000,
    kv_values_per_token=10,
)


def config(new: int = 36, **selection: object) -> JobConfig:
    return JobConfig(
        input=InputConfig(input=["a"]),
        output=OutputConfig(output="o"),
        reduction=reduction(**selection),
        generation=GenerationSettings(max_new_tokens=new),
    )


@pytest.mark.parametrize(
    ("budget", "tokens"),
    [(0.2, 576), (0.4, 1152), (1, 2880), (64, 64), (5000, 2880), (1e-6, 1), (0.35, 1008)],
)
def test_tokens(budget: float, tokens: int) -> None:
    assert estimate(config(budget=budget), SPEC).tokens == tokens


def test_a_fraction_is_what_the_selection_makes_of_it() -> None:
    """.29 of 200 is 58, though .29 * 200 is 57.99999999999999."""
    spec = dataclasses.replace(SPEC, geometry=anyres(((10, 10),), 10, 1))
    assert spec.nominal_tokens == 200
    assert int(0.29 * 200) == 57
    assert estimate(config(budget=0.29), spec).tokens == 58


def test_flops() -> None:
    found = estimate(config(budget=0.2, new=36), SPEC)
    assert TEXT_TOKENS == 64
    # Vision: two operations per weight for 5 partitions of 577 tokens. Language: 576 visual, 64
    # text and 36 new tokens.
    assert found.flops == 2 * 1000 * 5 * 577 + 2 * 7000 * (576 + 64 + 36)


@pytest.mark.parametrize(
    ("name", "gpus", "tflops"),
    [("NVIDIA H100 80GB HBM3", 2, 1978), ("NVIDIA L40S", 1, 362), ("Unheard Of", 3, 300)],
)
def test_gpus_by_data_sheet(name: str, gpus: int, tflops: float) -> None:
    found = device_flops(Cluster(cpus=8, gpus=gpus, gpu_name=name))
    assert found == pytest.approx(tflops * 1e12)


def test_cpus_as_measured() -> None:
    assert 1e8 < device_flops(Cluster(cpus=1, gpus=0)) < 1e15


def test_the_embedded_model() -> None:
    spec: ModelSpec = load_spec("embedded")
    assert estimate(config(budget=0.2), spec).tokens == 144
    assert estimate(config(budget=1), spec).tokens == 720
