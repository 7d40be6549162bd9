"""Settings: ranges, what a budget and a method mean together, and what is derived from them."""

from __future__ import annotations

import dataclasses
import inspect
import pickle

import pytest

from hired_core.errors import SettingError
from hired_core.language.generation import GenerationSettings
from hired_core.vlm.settings import ReductionSettings
from pipeline.settings import config as settings
from pipeline.settings.config import (
    CaptionConfig,
    DuplicatesConfig,
    InputConfig,
    JobConfig,
    OutputConfig,
    RunConfig,
)
from tests.support.settings import reduction

CLASSES = [
    cls
    for _, cls in inspect.getmembers(settings, dataclasses.is_dataclass)
    if cls.__module__ == settings.__name__ and cls is not JobConfig
]


@pytest.mark.parametrize("budget", [0.05, 0.2, 0.999, 1, 2, 64, 2880.0, None])
def test_budgets_that_are_allowed(budget: float | None) -> None:
    assert reduction(budget=budget).budget == budget


@pytest.mark.parametrize(
    "budget", [0, -0.2, -5, 1.0001, 2.5, float("nan"), float("inf"), float("-inf")]
)
def test_budgets_that_are_refused(budget: float) -> None:
    with pytest.raises(SettingError, match=r"^budget: .* is out of range; allowed: 0 < x < 1"):
        reduction(budget=budget)


@pytest.mark.parametrize(
    ("given", "token_budget", "method", "newline"),
    [
        ({}, 0.2, "hired", "none"),
        ({"budget": 64}, 64, "hired", "none"),
        ({"method": "dense"}, 1.0, "dense", "all"),
        ({"method": "dense", "budget": 1}, 1, "dense", "all"),
        ({"method": "random", "budget": 1}, 1, "dense", "all"),
        ({"budget": 1, "newline": "none"}, 1, "dense", "none"),
        ({"budget": 0.4, "newline": "kept-rows"}, 0.4, "hired", "kept-rows"),
        ({"method": "hired-upstream"}, 0.2, "hired-upstream", "none"),
    ],
)
def test_what_budget_and_method_come_to(
    given: dict[str, object], token_budget: float, method: str, newline: str
) -> None:
    chosen = reduction(**given)  # type: ignore[arg-type]
    assert chosen.token_budget == token_budget
    assert chosen.effective_method == method
    assert chosen.newline_policy == newline


def test_only_the_published_code_transposes_the_grid() -> None:
    assert reduction(method="hired-upstream", transposed_grid=True).transposed_grid
    with pytest.raises(SettingError, match="transposed_grid"):
        reduction(method="hired", transposed_grid=True)


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        (InputConfig, "input", []),
        (InputConfig, "input", "data"),
        (InputConfig, "limit", 0),
        (InputConfig, "max_pixels", 0),
        (InputConfig, "decode_timeout_sec", 0.0),
        (InputConfig, "decode_timeout_sec", float("inf")),
        (InputConfig, "decode_timeout_sec", float("nan")),
        (InputConfig, "max_decode_mib", 0),
        (InputConfig, "max_image_bytes", -1),
        (CaptionConfig, "prompt", " \n"),
        (DuplicatesConfig, "near_duplicates", -1),
        (DuplicatesConfig, "near_duplicates", 11),
        (OutputConfig, "output", " "),
        (OutputConfig, "rows_per_part", 0),
        (OutputConfig, "max_error_rate", 1.01),
        (OutputConfig, "max_error_rate", -0.01),
        (ReductionSettings, "alpha", 1.5),
        (ReductionSettings, "alpha", -0.1),
        (GenerationSettings, "max_new_tokens", 0),
        (GenerationSettings, "temperature", -1),
        (GenerationSettings, "temperature", 100),
        (GenerationSettings, "top_p", 0),
        (GenerationSettings, "top_p", 1.1),
        (RunConfig, "batch_size", 0),
        (GenerationSettings, "generation_timeout_sec", 0.0),
        (GenerationSettings, "generation_timeout_sec", float("inf")),
        (RunConfig, "vision_actors", 0),
        (RunConfig, "language_actors", -1),
        (RunConfig, "torch_threads", 0),
        (RunConfig, "gpu_hour_price", -0.01),
        (RunConfig, "cpu_hour_price", float("inf")),
    ],
)
def test_values_out_of_range_are_refused_by_name(cls: type, key: str, value: object) -> None:
    needed = {InputConfig: {"input": ["a"]}, OutputConfig: {"output": "o"}}.get(cls, {})
    cls(**needed)
    with pytest.raises(SettingError) as caught:
        cls(**{**needed, key: value})
    assert str(caught.value).startswith(f"{key}: {value!r} is out of range; allowed: ")


def test_near_duplicates_are_copied_and_so_are_exact_ones() -> None:
    assert not DuplicatesConfig().copies
    assert DuplicatesConfig(duplicates="copy").copies
    assert DuplicatesConfig(near_duplicates=0).copies


def test_names_are_unique_over_all_sections() -> None:
    """Flags have no section in front, so two fields of one name would be one flag.

    A job has either a prompt or a question column: those two sections are told apart by class.
    """
    names = [field.name for cls in CLASSES for field in dataclasses.fields(cls)]
    assert len(names) > 30
    assert len(names) == len(set(names))


def test_every_class_is_frozen_and_keyword_only() -> None:
    for cls in CLASSES:
        assert cls.__dataclass_params__.frozen, cls
        assert all(field.kw_only for field in dataclasses.fields(cls)), cls


def test_a_configuration_travels() -> None:
    config = JobConfig(input=InputConfig(input=["a"]), output=OutputConfig(output="o"))
    assert pickle.loads(pickle.dumps(config)) == config
