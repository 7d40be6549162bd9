"""Budgets: hand-worked, against a slow reference in exact fractions, and as properties."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hired_core import allocate_budget, token_budget_to_count
from hired_core.methods.budget import allocate_evenly


def allocate(
    scores: list[float], capacities: list[int], budget: int, alpha: float = 0.5
) -> list[int]:
    given_scores = torch.tensor(scores, dtype=torch.float64)
    result = allocate_budget(given_scores, torch.tensor(capacities), budget, alpha)
    assert result.dtype == torch.int64
    return result.tolist()


# A reference written from DESIGN's rules alone: python integers and fractions, one image.


def reference(
    scores: list[float], capacities: list[int], budget: int, alpha: Fraction
) -> list[int]:
    total = min(budget, sum(capacities))
    full = min(math.floor(alpha * budget), capacities[0], total)
    usable = all(math.isfinite(s) for s in scores)
    weights = [Fraction(s) if usable else Fraction(0) for s in scores]
    subs = fill(weights, capacities[1:], total - full)
    return [total - sum(subs), *subs]


def fill(weights: list[Fraction], room: list[int], total: int) -> list[int]:
    given_out = [0] * len(room)
    while True:
        left = total - sum(given_out)
        is_open = [i for i in range(len(room)) if given_out[i] < room[i]]
        if left == 0 or not is_open:
            return given_out
        shares = {i: weights[i] for i in is_open}
        if not any(shares.values()):
            shares = dict.fromkeys(is_open, Fraction(1))
        quota = {i: left * w / sum(shares.values()) for i, w in shares.items()}
        whole = {i: math.floor(q) for i, q in quota.items()}
        by_remainder = sorted(is_open, key=lambda i: (whole[i] - quota[i], i))
        for i in by_remainder[: left - sum(whole.values())]:
            whole[i] += 1
        for i in is_open:
            given_out[i] = min(given_out[i] + whole[i], room[i])


# Hand-worked ----------------------------------------------------------------------------------


def test_fourth_figure_of_the_paper() -> None:
    assert allocate([0.32, 0.08, 0.58, 0.02], [576] * 5, 100) == [50, 16, 4, 29, 1]


@pytest.mark.parametrize(
    ("scores", "capacities", "budget", "alpha", "expected"),
    [
        # Remainders .5 .5 .5 .5 of 10/4 each: the two lowest indices get the rest.
        ([1, 1, 1, 1], [99] * 5, 20, 0.5, [10, 3, 3, 2, 2]),
        # 3 by 3:2:1 is 1.5, 1, .5: equal remainders of unequal scores, the lower index first.
        ([3, 2, 1], [99] * 4, 3, 0.0, [0, 2, 1, 0]),
        ([1, 2, 3], [99] * 4, 3, 0.0, [0, 1, 1, 1]),
        # 7 by 5:3:2 is 3.5, 2.1, 1.4.
        ([5, 3, 2], [99] * 4, 7, 0.0, [0, 4, 2, 1]),
        # Largest remainder, not largest quota: 10 by 47:16:16:21 is 4.7, 1.6, 1.6, 2.1.
        ([47, 16, 16, 21], [99] * 5, 10, 0.0, [0, 5, 2, 1, 2]),
        # Cap 10: 90 by 8:1:1 is 72, 9, 9; the excess 62 is shared 1:1.
        ([8, 1, 1], [99, 10, 99, 99], 90, 0.0, [0, 10, 40, 40]),
        # The excess again by score: 60 by 6:3:1 is 36, 18, 6; 26 over, by 3:1 is 19.5, 6.5.
        ([6, 3, 1], [99, 10, 99, 99], 60, 0.0, [0, 10, 38, 12]),
        # A score of zero gets nothing while others have room, and the rest once they are full.
        ([1, 0, 0], [99, 50, 50, 50], 40, 0.0, [0, 40, 0, 0]),
        ([1, 0, 0], [99, 50, 50, 50], 61, 0.0, [0, 50, 6, 5]),
        # Full sub-images hand the rest to the full-image, above its alpha.
        ([1, 1], [99, 5, 5], 50, 0.1, [40, 5, 5]),
        # ... until everything is kept.
        ([1, 1], [99, 5, 5], 500, 0.1, [99, 5, 5]),
        # The full-image's cap flows to the sub-images.
        ([1, 1], [10, 99, 99], 100, 0.5, [10, 45, 45]),
        ([1, 1], [10, 99, 99], 100, 1.0, [10, 45, 45]),
        # floor(alpha * budget): .5 * 7 is 3; .29 * 100 is 29 although its float is below.
        ([1], [99, 99], 7, 0.5, [3, 4]),
        ([1], [99, 99], 100, 0.29, [29, 71]),
        ([1, 1, 1, 1], [576] * 5, 2880, 0.5, [576, 576, 576, 576, 576]),
        ([1, 1], [576, 576, 576], 0, 0.5, [0, 0, 0]),
        ([1, 1], [576, 0, 0], 600, 0.5, [576, 0, 0]),
        ([], [576], 100, 0.5, [100]),
    ],
)
def test_worked_by_hand(
    scores: list[float], capacities: list[int], budget: int, alpha: float, expected: list[int]
) -> None:
    assert allocate(scores, capacities, budget, alpha) == expected


@pytest.mark.parametrize(
    "scores",
    [
        [0.0, 0.0, 0.0, 0.0],
        [0.9, math.nan, 0.05, 0.05],
        [math.inf, 1.0, 1.0, 1.0],
        [1.0, 1.0, -math.inf, 1.0],
    ],
)
def test_useless_scores_split_evenly(scores: list[float]) -> None:
    assert allocate(scores, [99] * 5, 22) == [11, 3, 3, 3, 2]


def test_alpha_outside_the_unit_interval_is_refused() -> None:
    for alpha in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="alpha"):
            allocate([1.0], [9, 9], 5, alpha)


# Properties -----------------------------------------------------------------------------------

SCORE = st.integers(0, 2**20).map(lambda n: n / 64) | st.sampled_from(
    [0.0, math.nan, math.inf, 1.0]
)


@st.composite
def images(draw: st.DrawFn) -> tuple[list[float], list[int], int, Fraction]:
    count = draw(st.integers(0, 5))
    scores = draw(st.lists(SCORE, min_size=count, max_size=count))
    room = st.integers(0, 600)
    capacities = draw(st.lists(room, min_size=count + 1, max_size=count + 1))
    budget = draw(st.integers(0, 3200))
    return scores, capacities, budget, Fraction(draw(st.integers(0, 20)), 20)


@given(images())
@settings(max_examples=500)
@example(([3.0, 2.0, 1.0], [99] * 4, 3, Fraction(0)))
@example(([1.0, 0.0, 0.0], [9, 1, 1, 1], 12, Fraction(1)))
def test_equals_the_reference_in_exact_fractions(
    image: tuple[list[float], list[int], int, Fraction],
) -> None:
    scores, capacities, budget, alpha = image
    result = allocate(scores, capacities, budget, float(alpha))
    assert result == reference(scores, capacities, budget, alpha)
    assert sum(result) == min(budget, sum(capacities))
    assert all(0 <= b <= c for b, c in zip(result, capacities, strict=True))


@given(st.lists(images(), min_size=1, max_size=6), st.floats(0, 1))
def test_a_batch_equals_its_images_one_by_one(
    batch: list[tuple[list[float], list[int], int, Fraction]], alpha: float
) -> None:
    most = max(len(capacities) for _, capacities, _, _ in batch)
    scores = torch.zeros(len(batch), most - 1, dtype=torch.float64)
    capacities = torch.zeros(len(batch), most, dtype=torch.int64)
    for row, (own_scores, own_capacities, _, _) in enumerate(batch):
        scores[row, : len(own_scores)] = torch.tensor(own_scores, dtype=torch.float64)
        capacities[row, : len(own_capacities)] = torch.tensor(own_capacities)
    budget = torch.tensor([budget for _, _, budget, _ in batch])
    together = allocate_budget(scores, capacities, budget, alpha).tolist()
    for row, (own_scores, own_capacities, own_budget, _) in enumerate(batch):
        alone = allocate(own_scores, own_capacities, own_budget, alpha)
        assert together[row] == alone + [0] * (most - len(alone))


@given(
    st.permutations([0, 1, 2, 3]),
    st.lists(st.integers(1, 2**20), min_size=4, max_size=4, unique=True),
    st.integers(0, 2304),
)
def test_permuting_which_quadrant_is_hot_permutes_the_budgets(
    permutation: list[int], scores: list[int], budget: int
) -> None:
    room = [576] * 5
    first = reference([float(s) for s in scores], room, budget, Fraction(1, 2))
    quota = [Fraction(s, sum(scores)) * (budget - first[0]) for s in scores]
    if len({q - math.floor(q) for q in quota}) < 4:
        return  # Equal remainders are told apart by index.
    moved = [float(scores[i]) for i in permutation]
    budgets = allocate([float(s) for s in scores], room, budget)
    assert allocate(moved, room, budget) == [budgets[0]] + [budgets[1 + i] for i in permutation]


@given(st.lists(st.integers(0, 1000), min_size=3, max_size=3), st.integers(-60, 60))
def test_only_the_ratio_of_scores_counts(scores: list[int], exponent: int) -> None:
    scaled = [s * 2.0**exponent for s in scores]
    assert allocate(scaled, [576] * 4, 345) == allocate([float(s) for s in scores], [576] * 4, 345)


@given(st.integers(1, 2880), st.lists(SCORE, min_size=4, max_size=4))
def test_alpha_zero_and_one(budget: int, scores: list[float]) -> None:
    assert allocate(scores, [576] * 5, budget, 0.0)[0] == max(0, budget - 4 * 576)
    assert allocate(scores, [576] * 5, budget, 1.0)[0] == min(budget, 576)


@given(st.lists(st.integers(0, 600), min_size=1, max_size=6), st.integers(0, 3600))
def test_even_allocation_counts_the_full_image_in(capacities: list[int], budget: int) -> None:
    result = allocate_evenly(torch.tensor([capacities]), torch.tensor([budget]))[0].tolist()
    assert result == fill([Fraction(0)] * len(capacities), capacities, min(budget, sum(capacities)))


# From the token budget to a count -------------------------------------------------------------


@pytest.mark.parametrize(
    ("token_budget", "expected"),
    [
        (0.05, 144),
        (0.1, 288),
        (0.2, 576),
        (0.35, 1008),  # Its product in floats is 1007.9999999999999.
        (0.4, 1152),
        (0.8, 2304),
        (0.0001, 1),
        (1.0, None),
        (1, None),
        (2, 2),
        (640, 640),
        (640.0, 640),
        (5000, 5000),
    ],
)
def test_token_budget_of_the_model(token_budget: float, expected: int | None) -> None:
    assert token_budget_to_count(token_budget, nominal=2880, own=1728) == expected


def test_token_budget_of_the_image() -> None:
    def own(token_budget: float, partitions: int) -> int | None:
        return token_budget_to_count(
            token_budget, nominal=2880, own=576 * partitions, basis="image"
        )

    assert [own(0.2, p) for p in (3, 4, 5)] == [345, 460, 576]  # METHODS 1.2
    assert own(640, 3) == 640
    assert own(1.0, 3) is None


@pytest.mark.parametrize("token_budget", [0, -1, -0.2, 1.5, 640.5, math.nan, math.inf, -math.inf])
def test_token_budget_out_of_range(token_budget: float) -> None:
    with pytest.raises(ValueError, match="token budget"):
        token_budget_to_count(token_budget, nominal=2880, own=1728)
