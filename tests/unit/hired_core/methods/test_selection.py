"""Which tokens are kept and in which order, against direct enumeration."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hired_core import select_tokens
from hired_core.methods.selection import gather_places, random_scores, select_stride

LEVELS = st.sampled_from([0.0, 1.0, 2.0, 3.5, math.nan, math.inf])


def select(scores: list[float], budget: int, valid: list[bool] | None = None) -> list[int]:
    """Kept indices of one partition."""
    mask = torch.tensor([valid if valid is not None else [True] * len(scores)])
    keep = select_tokens(torch.tensor([scores]), torch.tensor([budget]), mask)
    assert keep.dtype == torch.bool and keep.shape == mask.shape
    return keep[0].nonzero()[:, 0].tolist()


def best(scores: list[float], budget: int, valid: list[bool]) -> list[int]:
    """The same by sorting a Python list: valid ones, highest first, NaN last, then by index."""
    candidates = [i for i, ok in enumerate(valid) if ok]
    key = {
        i: (math.isnan(scores[i]), 0 if math.isnan(scores[i]) else -scores[i], i)
        for i in candidates
    }
    return sorted(sorted(candidates, key=key.__getitem__)[:budget])


def test_top_tokens_by_hand() -> None:
    assert select([0.1, 0.9, 0.5, 0.7], 2) == [1, 3]
    assert select([0.1, 0.9, 0.5, 0.7], 0) == []
    assert select([0.1, 0.9, 0.5, 0.7], 9) == [0, 1, 2, 3]


def test_ties_keep_the_lower_index() -> None:
    assert select([1.0] * 100, 7) == [0, 1, 2, 3, 4, 5, 6]
    assert select([1.0, 2.0, 1.0, 2.0, 1.0], 3) == [0, 1, 3]


def test_padding_is_never_selected() -> None:
    assert select([9.0, 1.0, 8.0, 2.0], 2, [False, True, False, True]) == [1, 3]
    assert select([9.0, 1.0, 8.0, 2.0], 4, [False, True, False, True]) == [1, 3]
    assert select([9.0, 1.0], 2, [False, False]) == []


def test_nan_ranks_last_but_before_padding() -> None:
    assert select([math.nan, 0.0, math.inf, 0.5], 3) == [1, 2, 3]
    assert select([math.nan, 0.0, 7.0], 2, [True, True, False]) == [0, 1]
    assert select([5.0, -math.inf, math.nan], 2, [False, True, True]) == [1, 2]


@st.composite
def partitions(draw: st.DrawFn) -> tuple[list[list[float]], list[int], list[list[bool]]]:
    count, patches = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    row = st.lists(LEVELS, min_size=patches, max_size=patches)
    mask = st.lists(st.booleans(), min_size=patches, max_size=patches)
    return (
        draw(st.lists(row, min_size=count, max_size=count)),
        draw(st.lists(st.integers(0, patches + 2), min_size=count, max_size=count)),
        draw(st.lists(mask, min_size=count, max_size=count)),
    )


@given(partitions())
def test_equals_a_sorted_list_and_does_not_depend_on_the_batch(
    batch: tuple[list[list[float]], list[int], list[list[bool]]],
) -> None:
    scores, budgets, valid = batch
    keep = select_tokens(torch.tensor(scores), torch.tensor(budgets), torch.tensor(valid))
    for row, kept in enumerate(keep):
        indices = kept.nonzero()[:, 0].tolist()
        assert indices == best(scores[row], budgets[row], valid[row])
        assert indices == select(scores[row], budgets[row], valid[row])


def test_large_partitions_in_half_precision_have_stable_ties() -> None:
    scores = torch.randint(0, 5, (3, 577), generator=torch.Generator().manual_seed(0)).half()
    keep = select_tokens(scores, torch.tensor([100, 300, 500]), torch.ones(3, 577).bool())
    for row, budget in enumerate((100, 300, 500)):
        expected = best(scores[row].tolist(), budget, [True] * 577)
        assert keep[row].nonzero()[:, 0].tolist() == expected


# Stride ---------------------------------------------------------------------------------------


def test_stride_by_hand() -> None:
    # floor((j + 1/2) 7 / 3) for j = 0, 1, 2 is 1, 3, 5; counted in valid tokens only.
    assert stride([True] * 7, 3) == [1, 3, 5]
    assert stride([False, True, True, True, False, True, True, True, True, False], 3) == [2, 5, 7]


def stride(mask: list[bool], budget: int) -> list[int]:
    return select_stride(torch.tensor([budget]), torch.tensor([mask]))[0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 25])
def test_stride_is_its_formula_over_the_valid_tokens(length: int) -> None:
    """Every budget over every count of valid tokens, those spread at random."""
    generator = torch.Generator().manual_seed(length)
    for count in range(length + 1):
        candidates = torch.randperm(length, generator=generator)[:count].sort().values.tolist()
        mask = [i in candidates for i in range(length)]
        for budget in range(length + 2):
            kept = min(budget, count)
            # floor((j + 1/2) n / m) in integers.
            expected = [candidates[(2 * j + 1) * count // (2 * kept)] for j in range(kept)]
            assert stride(mask, budget) == expected


@pytest.mark.parametrize("kept", [1, 115, 172, 288, 575, 576])
def test_stride_keeps_exactly_the_budget(kept: int) -> None:
    result = select_stride(torch.tensor([[kept]]), torch.ones(1, 1, 576).bool())
    assert int(result.sum()) == kept


# Random ---------------------------------------------------------------------------------------


def splitmix64(seed: int, count: int) -> list[int]:
    """Python integers; first three values of seed 1234567 are the published test vector."""
    mask, state, values = 2**64 - 1, seed % 2**64, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        values.append(z ^ (z >> 31))
    return values


def test_random_scores_are_splitmix64() -> None:
    assert splitmix64(1234567, 3) == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]
    for seed in (1234567, 0, -1, 2**63 - 1, -(2**63)):
        scores = random_scores(torch.tensor([seed]), 3, 5).flatten().tolist()
        assert scores == [(z >> 11) / 2**53 for z in splitmix64(seed, 15)]


def test_random_scores_depend_on_the_seed_alone() -> None:
    seeds = torch.tensor([5, 7, -9])
    batch = random_scores(seeds, 5, 64)
    for row, seed in enumerate(seeds):
        assert torch.equal(random_scores(seed[None], 3, 64)[0], batch[row, :3])
    assert not torch.equal(batch[0], batch[1])
    assert abs(float(random_scores(torch.arange(50), 5, 64).mean()) - 0.5) < 0.01


# Order ----------------------------------------------------------------------------------------


def test_gather_places_by_hand() -> None:
    # Two sub-images side by side: order interleaves their rows.
    order = torch.tensor([[[0, 1, 2, 3], [4, 5, 8, 9], [6, 7, 10, 11]]])
    keep = torch.tensor([[[0, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]]]).bool()
    index, count = gather_places(keep, order, 6)
    assert count.tolist() == [5]
    # Positions 1, 5, 6, 8, 11 -> flat indices 1, 5, 8, 6, 11.
    assert index[0, :5].tolist() == [1, 5, 8, 6, 11]
    assert index.shape == (1, 6)


@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 3))
def test_gather_places_sorts_kept_positions(seed: int, images: int, partitions_: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    total = partitions_ * 6
    order = torch.stack([torch.randperm(total, generator=generator) for _ in range(images)])
    keep = torch.rand(images, total, generator=generator) < 0.5
    shape = (images, partitions_, 6)
    index, count = gather_places(keep.view(shape), order.view(shape), total)
    for row in range(images):
        expected = sorted(keep[row].nonzero()[:, 0].tolist(), key=lambda i: int(order[row, i]))
        assert index[row, : int(count[row])].tolist() == expected
        assert int(index[row].min()) >= 0 and int(index[row].max()) < total
