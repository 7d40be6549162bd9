"""FastV's rank and its schedule, by hand. Its texts: `tests/unit/hired_core/backends`."""

from __future__ import annotations

import pickle

import pytest
import torch

from hired_core.methods.in_llm import fastv
from hired_core.methods.in_llm.fastv import FastVOptions, mean_attention
from hired_core.methods.schedule import Shown, keep_top


def test_the_score_is_the_mean_over_heads() -> None:
    attention = torch.tensor([[0.50, 0.25, 0.00, 0.00], [0.00, 0.25, 0.50, 0.125]])
    assert mean_attention(attention).tolist() == [0.25, 0.25, 0.25, 0.0625]
    assert keep_top(mean_attention(attention), 2).tolist() == [0, 1]
    shown = Shown(count=2, last_attention=attention)
    assert fastv.RANKER.rank(shown).tolist() == [0.25, 0.25, 0.25, 0.0625]


def test_a_head_that_is_no_number_costs_its_token() -> None:
    attention = torch.tensor([[0.1, torch.nan, 0.2], [0.1, 0.9, 0.2]])
    assert keep_top(mean_attention(attention), 2).tolist() == [0, 2]


def test_the_score_is_the_same_in_any_order_of_heads() -> None:
    attention = torch.rand(40, 300, generator=torch.Generator().manual_seed(0)) / 300
    score, backwards = mean_attention(attention), mean_attention(attention.flip(0))
    assert torch.equal(score, backwards)
    torch.testing.assert_close(score, attention.double().mean(0), atol=1e-12, rtol=0)


def test_the_default_is_layer_2_of_32() -> None:
    schedule = fastv.schedule(576, 2880, 32)
    assert (schedule.layers, schedule.counts) == ((2,), (576,))
    assert schedule.ranker.asks == {"last_attention"}
    assert fastv.schedule(3, 9, 5).layers == (1,)
    assert fastv.schedule(3, 9, 32, FastVOptions(depth=0.5)).layers == (16,)


def test_a_schedule_travels_to_another_process() -> None:
    schedule = fastv.schedule(576, 2880, 32)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize("depth", [0, 1, -0.1, float("nan")])
def test_depth_out_of_range(depth: float) -> None:
    with pytest.raises(ValueError, match=r"^depth: .* allowed: above 0 and below 1"):
        FastVOptions(depth=depth)


def test_no_count_and_no_second_layer() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        fastv.schedule(0, 9, 32)
    with pytest.raises(ValueError, match="between layers"):
        fastv.schedule(5, 9, 1)
