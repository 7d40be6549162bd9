"""Visual tokens that layers saw and bytes of their cache, by hand, for the embedded model.

It has 4 decoder layers, 256 wide keys, and 720 visual tokens at most.
"""

from __future__ import annotations

import pytest

from hired_core.geometry.spec import ModelSpec
from hired_core.models.registry import load_spec
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.results.work import Work, work_of


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    found = load_spec("embedded")
    assert (found.num_text_layers, found.kv_width, found.nominal_tokens) == (4, 256, 720)
    return found


def work(spec: ModelSpec, settings: ReductionSettings, **told: int) -> Work:
    return work_of(settings, spec, value_bytes=4, **told)


PAIR = 2 * 256 * 4
"""Bytes of the key and the value of a position in one layer."""


def test_what_is_dropped_before_is_seen_by_no_layer(spec: ModelSpec) -> None:
    settings = ReductionSettings(budget=0.2)
    found = work(spec, settings, positions=144, kept=144, dense=504)
    assert found == Work(tokens=144, kv_bytes=4 * 144 * PAIR)


def test_row_ends_take_cells_and_are_no_visual_tokens(spec: ModelSpec) -> None:
    dense = work(spec, ReductionSettings(budget=1.0), positions=528, kept=504, dense=504)
    assert dense == Work(tokens=504, kv_bytes=4 * 528 * PAIR)
    kept = ReductionSettings(budget=0.2, newline="kept-rows")
    found = work(spec, kept, positions=160, kept=144, dense=504)
    assert found == Work(tokens=144, kv_bytes=4 * 160 * PAIR)


def test_inside_the_language_model_the_first_layers_see_all(spec: ModelSpec) -> None:
    """FastV at a depth of a quarter drops before the second of the four layers."""
    settings = ReductionSettings(method="fastv", budget=0.2, method_options={"depth": 0.25})
    found = work(spec, settings, positions=528, kept=144, dense=504)
    assert found.tokens == (504 + 3 * 144) / 4
    assert found.kv_bytes == (528 + 3 * (144 + 24)) * PAIR
    small = work(spec, settings, positions=108, kept=100, dense=100)
    assert small == Work(tokens=100, kv_bytes=4 * 108 * PAIR)


def test_two_methods_one_after_the_other(spec: ModelSpec) -> None:
    """The first keeps 288 of 720; of those the second keeps half from the third layer on."""
    options = {"llm_method": "fastv", "llm_options": {"depth": 0.5}}
    settings = ReductionSettings(budget=0.4, **options)
    found = work(spec, settings, positions=288, kept=144, dense=504)
    assert found == Work(tokens=216, kv_bytes=2 * (288 + 144) * PAIR)
    ended = ReductionSettings(budget=0.4, newline="all", **options)
    found = work(spec, ended, positions=300, kept=144, dense=504)
    assert found == Work(tokens=216, kv_bytes=2 * (300 + 156) * PAIR)
