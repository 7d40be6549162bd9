"""SparseVLM's raters, counts and recycling, by hand; texts: `tests/unit/hired_core/backends`."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hired_core.methods.in_llm import sparsevlm
from hired_core.methods.in_llm.sparsevlm import (
    RECYCLING,
    SELECTING,
    SparseVLMOptions,
    drop_counts,
    find_raters,
    rated,
    split,
)
from hired_core.methods.schedule import Shown, keep_top

LOG3 = torch.tensor(3.0).log().item()


def test_raters_match_the_image_more_than_the_mean() -> None:
    """Of the first token, words share 1/4, 3/4; of the second 1/2 each: 3/8 and 5/8 on average."""
    inputs = torch.tensor([[LOG3, 0.0], [0.0, 1.0]])
    text = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert find_raters(inputs, text).tolist() == [False, True]
    # The mean of three words is a third; the words that are alike share what is left.
    three = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    assert find_raters(inputs, three).tolist() == [False, True, False]


@pytest.mark.parametrize("num_text", [1, 2, 7])
def test_all_words_rate_where_none_is_above_the_mean(num_text: int) -> None:
    inputs = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    assert find_raters(inputs, torch.ones(num_text, 4)).all()


def test_the_rank_is_the_mean_over_raters() -> None:
    attention = torch.tensor([[0.5, 0.25, 0], [0.75, 0, 0.125], [0, 0.25, 0.5]]).double()
    raters = torch.tensor([True, False, True])
    assert rated(raters, attention).tolist() == [0.25, 0.25, 0.25]
    assert rated(~raters, attention).tolist() == [0.75, 0.0, 0.125]
    spoilt = attention.index_fill(0, torch.tensor([1]), torch.nan)
    assert rated(raters, spoilt).tolist() == [0.25, 0.25, 0.25]


@pytest.mark.parametrize(
    ("count", "num_visual", "parts"),
    [
        # 276 leave, 83 of them in 9 clusters.
        (309, 576, (300, 83, 9)),
        (204, 309, (200, 33, 4)),
        (113, 204, (110, 29, 3)),
        (1, 9, (1, 0, 0)),
        (2, 3, (1, 1, 1)),
        (5, 2880, (3, 864, 2)),  # Half of five.
    ],
)
def test_what_is_recycled(count: int, num_visual: int, parts: tuple[int, int, int]) -> None:
    assert split(count, num_visual) == parts


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_budget_is_exact_with_what_is_recycled(count: int, more: int) -> None:
    kept, recycled, clusters = split(count, count + more)
    assert kept + clusters == count and kept >= clusters
    assert clusters <= recycled <= more + clusters
    if clusters < count // 2:
        assert recycled == int(0.3 * (count + more - kept)) + 1
        assert clusters == int(recycled / 10) + 1


@pytest.mark.parametrize(
    ("count", "num_visual", "profile", "counts"),
    [
        (110, 576, 192, [300, 200, 110]),
        (576, 2880, 192, [1570, 1047, 576]),
        (1440, 2880, 192, [2880, 2618, 1440]),
        (17, 576, 64, [66, 30, 17]),
        (26, 576, 96, [238, 48, 26]),
        (36, 576, 128, [303, 110, 36]),
        (9, 5, 192, [9, 9, 9]),
    ],
)
def test_counts_are_the_published_table_scaled(
    count: int, num_visual: int, profile: int, counts: list[int]
) -> None:
    assert drop_counts(count, num_visual, profile) == counts


def shown(count: int, phi: list[float], hidden: list[list[float]]) -> Shown:
    """One word, which looks so at the visual tokens."""
    return Shown(
        count=count,
        text_attention=torch.tensor([phi]).double(),
        inputs=torch.zeros(len(phi), 2),
        text_inputs=torch.zeros(1, 2),
        hidden=torch.tensor(hidden),
    )


def test_what_leaves_goes_on_as_its_mean() -> None:
    """Of six, two stay: one as it is. Five leave, of which the two of highest phi are recycled."""
    phi = [0.1, 0.3, 0.05, 0.2, 0.15, 0.01]
    hidden = [[0.0, 1.0], [9.0, 9.0], [5.0, 5.0], [4.0, 3.0], [2.0, 5.0], [7.0, 7.0]]
    choice = RECYCLING.choose(shown(2, phi, hidden))
    assert choice.kept.tolist() == [1]
    assert choice.merged is not None and choice.merged.tolist() == [[3.0, 4.0]]
    # Both are as dense, and as far from each other: the lower.
    assert choice.centre is not None and choice.centre.tolist() == [3]
    assert SELECTING.choose(shown(2, phi, hidden)).kept.tolist() == [1, 3]
    assert RECYCLING.choose(shown(1, phi, hidden)).kept.tolist() == [1]
    assert RECYCLING.choose(shown(1, phi, hidden)).merged is None


@settings(deadline=None)
@given(st.data(), st.integers(2, 60))
def test_exact_with_ties_and_without_numbers(data: st.DataObject, num_visual: int) -> None:
    values = st.sampled_from([0.0, 0.25, 0.5, float("nan")])
    phi = data.draw(st.lists(values, min_size=num_visual, max_size=num_visual))
    hidden = [[float(i % 3), float(i % 2)] for i in range(num_visual)]
    count = data.draw(st.integers(1, num_visual - 1))
    choice = RECYCLING.choose(shown(count, phi, hidden))
    num_kept, _, clusters = split(count, num_visual)
    assert choice.kept.tolist() == keep_top(torch.tensor(phi), num_kept).tolist()
    if not clusters:
        assert choice.merged is None
        return
    assert choice.merged is not None and choice.merged.isfinite().all()
    assert choice.centre is not None
    centre = choice.centre.tolist()
    assert len(set(centre)) == clusters == choice.merged.shape[0]
    assert not set(centre) & set(choice.kept.tolist())


def test_the_default_is_behind_layers_2_6_and_15_of_32() -> None:
    schedule = sparsevlm.schedule(110, 576, 32)
    assert (schedule.layers, schedule.counts) == ((3, 7, 16), (300, 200, 110))
    assert schedule.ranker is RECYCLING
    few = sparsevlm.schedule(110, 576, 4)
    assert (few.layers, few.counts) == ((1, 2), (200, 110))
    assert sparsevlm.schedule(110, 576, 2).counts == (110,)
    plain = sparsevlm.schedule(110, 576, 32, SparseVLMOptions(recycle=False))
    assert plain.ranker is SELECTING and "hidden" not in SELECTING.asks
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_a_profile_that_is_not_published() -> None:
    with pytest.raises(ValueError, match=r"^profile: 100 is out of range; allowed: 192, 128, 96"):
        SparseVLMOptions(profile=100)
