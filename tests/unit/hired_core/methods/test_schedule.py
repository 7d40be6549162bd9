"""Which layers drop rows, how many stay and which: by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hired_core.methods.schedule import KeepSchedule, Ranker, keep_top, layer_at, make_schedule

NAN, INF = float("nan"), float("inf")
RANKER = Ranker(asks=frozenset({"keys"}), rank=lambda shown: torch.zeros(3))


@pytest.mark.parametrize(
    ("scores", "count", "kept"),
    [
        ([0.1, 0.3, 0.2], 2, [1, 2]),
        ([0.3, 0.1, 0.2], 1, [0]),
        ([0.5, 0.5, 0.5, 0.5], 2, [0, 1]),
        ([0.1, 0.5, 0.5, 0.5], 2, [1, 2]),
        ([0.0, -0.0, 0.0], 1, [0]),
        ([NAN, 0.1, NAN], 1, [1]),
        ([NAN, -1e30, NAN], 2, [0, 1]),
        ([NAN, -INF, NAN], 2, [0, 1]),
        ([NAN, NAN], 1, [0]),
        ([-INF, INF, 1.0], 2, [1, 2]),
        ([0.2, 0.1], 5, [0, 1]),
        ([], 3, []),
    ],
)
def test_keep_top(scores: list[float], count: int, kept: list[int]) -> None:
    assert keep_top(torch.tensor(scores), count).tolist() == kept


@given(st.lists(st.sampled_from([NAN, -INF, -1.0, 0.0, 0.5, INF]), max_size=80), st.integers(1, 90))
def test_keep_top_is_a_stable_sort(scores: list[float], count: int) -> None:
    """By Python's own, of more than a handful of ties."""
    value = [-INF if score != score else score for score in scores]
    ranked = sorted(range(len(value)), key=lambda place: (-value[place], place))
    assert keep_top(torch.tensor(scores), count).tolist() == sorted(ranked[:count])


@pytest.mark.parametrize(
    ("fraction", "num_layers", "layer"),
    [
        (2 / 32, 32, 2),
        (2 / 32, 40, 3),  # 2.5: a half goes up.
        (2 / 32, 28, 2),
        (2 / 32, 5, 1),
        (2 / 32, 2, 1),
        (0.5, 5, 3),
        (0.25, 32, 8),
        (0.75, 32, 24),
        (0.99, 5, 4),
        (1e-9, 32, 1),
    ],
)
def test_layer_at(fraction: float, num_layers: int, layer: int) -> None:
    assert layer_at(fraction, num_layers) == layer


@pytest.mark.parametrize(
    ("fraction", "num_layers"), [(0, 32), (1, 32), (NAN, 32), (-0.5, 32), (0.5, 1)]
)
def test_no_layer_at(fraction: float, num_layers: int) -> None:
    with pytest.raises(ValueError, match=r"above 0 and below 1|between layers"):
        layer_at(fraction, num_layers)


def test_fractions_that_fall_on_one_layer_are_one_drop() -> None:
    deep = make_schedule([0.25, 0.5, 0.75], [50, 25, 12], 32, RANKER)
    assert (deep.layers, deep.counts) == ((8, 16, 24), (50, 25, 12))
    shallow = make_schedule([0.25, 0.5, 0.75], [50, 25, 12], 3, RANKER)
    assert (shallow.layers, shallow.counts) == ((1, 2), (50, 12))
    with pytest.raises(ValueError, match="must ascend"):
        make_schedule([0.5, 0.25], [50, 25], 32, RANKER)


def test_segments_and_what_they_do_not_see() -> None:
    schedule = KeepSchedule(layers=(2, 3), counts=(10, 4), ranker=RANKER)
    assert schedule.segments(5) == [range(2), range(2, 3), range(3, 5)]
    assert schedule.segments(4) == [range(2), range(2, 3), range(3, 4)]
    with pytest.raises(ValueError, match=r"^rows are to be dropped at layer 3 of 3$"):
        schedule.segments(3)
    assert schedule.dropped(25) == (0, 15, 21)
    assert schedule.dropped(7) == (0, 0, 3)
    assert schedule.dropped(0) == (0, 0, 0)


@pytest.mark.parametrize(
    ("layers", "counts"),
    [
        ((), ()),
        ((2,), (5, 4)),
        ((0,), (5,)),
        ((3, 3), (5, 4)),
        ((3, 2), (5, 4)),
        ((2,), (0,)),
        ((2, 3), (4, 5)),
    ],
)
def test_what_is_no_schedule(layers: tuple[int, ...], counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"one count for each|must ascend|must not grow"):
        KeepSchedule(layers=layers, counts=counts, ranker=RANKER)
