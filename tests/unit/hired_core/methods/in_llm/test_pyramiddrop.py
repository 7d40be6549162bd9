"""PyramidDrop's counts and rank, by hand. Its texts: `tests/unit/hired_core/backends`."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hired_core.methods.in_llm import pyramiddrop
from hired_core.methods.in_llm.pyramiddrop import RANKER, PyramidDropOptions, drop_counts
from hired_core.methods.schedule import Shown


@pytest.mark.parametrize(
    ("count", "num_visual", "drops", "counts"),
    [
        (360, 2880, 3, [1440, 720, 360]),  # The published ratios: .5, .25, .125.
        (72, 576, 3, [288, 144, 72]),
        (640, 2880, 2, [1357, 640]),  # The square root of 640 / 2880 of 2880 is 1357.6.
        (27, 64, 3, [48, 36, 27]),  # r = 3/4.
        (5, 9, 1, [5]),
        (9, 9, 3, [9, 9, 9]),
        (12, 9, 3, [12, 12, 12]),
        (1, 1000, 3, [100, 10, 1]),
    ],
)
def test_counts_fall_by_a_ratio(count: int, num_visual: int, drops: int, counts: list[int]) -> None:
    assert drop_counts(count, num_visual, drops) == counts


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 9))
def test_counts_fall_from_all_to_the_budget(count: int, num_visual: int, drops: int) -> None:
    counts = drop_counts(count, num_visual, drops)
    assert len(counts) == drops and counts[-1] == count
    assert counts == sorted(counts, reverse=True) and counts[0] <= max(num_visual, count)


def test_the_default_is_layers_8_16_and_24_of_32() -> None:
    schedule = pyramiddrop.schedule(360, 2880, 32)
    assert (schedule.layers, schedule.counts) == ((8, 16, 24), (1440, 720, 360))
    assert pyramiddrop.schedule(8, 64, 4).layers == (1, 2, 3)
    few = pyramiddrop.schedule(8, 64, 3)
    assert (few.layers, few.counts) == ((1, 2), (32, 8))
    assert pyramiddrop.schedule(8, 64, 2).counts == (8,)
    halves = pyramiddrop.schedule(8, 64, 32, PyramidDropOptions(stages=2))
    assert (halves.layers, halves.counts) == ((16,), (8,))
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_the_rank_is_the_mean_over_heads_in_the_layer_itself() -> None:
    attention = torch.tensor([[0.5, 0.25, 0.0, 0.0], [0.0, 0.25, 0.5, 0.125]])
    shown = Shown(count=2, next_attention=attention)
    assert RANKER.choose(shown).kept.tolist() == [0, 1]
    assert RANKER.asks == {"next_attention"}


def test_what_is_no_schedule() -> None:
    with pytest.raises(ValueError, match=r"^stages: 1 is out of range; allowed: a whole number"):
        PyramidDropOptions(stages=1)
    with pytest.raises(ValueError, match="at least 1"):
        pyramiddrop.schedule(0, 9, 32)
    with pytest.raises(ValueError, match="between layers"):
        pyramiddrop.schedule(5, 9, 1)
