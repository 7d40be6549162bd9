"""DART's pivots and turns, by hand. Its texts: `tests/unit/hired_core/backends`."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hired_core.methods.in_llm import dart
from hired_core.methods.in_llm.dart import DartOptions, DartRank, key_norms, quotas, take_turns
from hired_core.methods.schedule import Shown

NAN, INF = float("nan"), float("inf")


def test_pivots_take_what_is_least_like_them() -> None:
    """Two heads of keys; row 1 has the largest norm, of the text row 1."""
    keys = torch.tensor([[[1.0], [-3.0], [0.0], [1.0], [1.0]], [[1.0], [1.0], [2.0], [1.0], [1.0]]])
    assert key_norms(keys).tolist() == [2, 4, 2, 2, 2]
    hidden = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 5.0], [0.0, -1.0]])
    shown = Shown(
        count=3,
        keys=keys,
        text_keys=torch.tensor([[[1.0], [2.0]], [[0.0], [0.0]]]),
        hidden=hidden,
        text_hidden=torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    )
    # Row 1 stays; it takes row 2, the text pivot row 4.
    assert DartRank(visual_pivots=1, text_pivots=1)(shown).kept.tolist() == [1, 2, 4]
    # Without text, row 1 takes two: row 2, then of two at right angles the lower.
    assert DartRank(visual_pivots=1, text_pivots=0)(shown).kept.tolist() == [1, 2, 3]
    # Without visual pivots nothing has to stay: the text's row 1 takes row 4 and, at right angles,
    # row 0; its row 0 takes row 2.
    assert DartRank(visual_pivots=0, text_pivots=2)(shown).kept.tolist() == [0, 2, 4]
    # A text has no more pivots than tokens, and pivots are no more than the budget.
    assert DartRank(visual_pivots=9, text_pivots=9)(shown).kept.tolist() == [0, 1, 2]


def test_turns() -> None:
    cosine = torch.tensor([[0.1, 0.1], [0.5, 0.0], [0.1, 0.2], [0.3, -1.0]])
    no_pivots = torch.tensor([], dtype=torch.long)
    assert take_turns(cosine, no_pivots, 2).tolist() == [0, 3]  # 0 and 2 tie.
    assert take_turns(cosine, no_pivots, 3).tolist() == [0, 2, 3]
    assert take_turns(cosine, torch.tensor([3]), 3).tolist() == [0, 1, 3]
    assert take_turns(cosine, torch.tensor([1]), 4).tolist() == [0, 1, 2, 3]


def test_a_cosine_that_is_no_number_is_the_highest() -> None:
    cosine = torch.tensor([[NAN], [INF], [0.9], [NAN]])
    assert take_turns(cosine, torch.tensor([2]), 2).tolist() == [0, 2]
    assert take_turns(cosine, torch.tensor([2]), 4).tolist() == [0, 1, 2, 3]


def test_quotas_share_all_of_it() -> None:
    assert quotas(10, 4) == [3, 3, 2, 2] and quotas(2, 3) == [1, 1, 0] and quotas(0, 2) == [0, 0]


@settings(deadline=None)
@given(st.data(), st.integers(2, 40), st.integers(0, 5), st.integers(0, 5), st.integers(1, 6))
def test_exact_and_the_same_recomputed_in_float64(
    data: st.DataObject, num_visual: int, visual_pivots: int, text_pivots: int, num_text: int
) -> None:
    """Hidden states are signs, in four dimensions: their cosines tie often, and are exact."""
    if not visual_pivots + text_pivots:
        visual_pivots = 1
    draw = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    hidden, text = (
        torch.randint(0, 2, (n, 4), generator=draw) * 2.0 - 1 for n in (num_visual, num_text)
    )
    keys = torch.randint(-2, 3, (2, num_visual + num_text, 3), generator=draw).float()
    shown = Shown(
        count=data.draw(st.integers(1, num_visual - 1)),
        keys=keys[:, :num_visual],
        text_keys=keys[:, num_visual:],
        hidden=hidden,
        text_hidden=text,
    )
    kept = DartRank(visual_pivots=visual_pivots, text_pivots=text_pivots)(shown).kept.tolist()
    assert len(set(kept)) == shown.count and kept == sorted(kept)
    assert kept == recomputed(shown, visual_pivots, text_pivots)


def recomputed(shown: Shown, visual_pivots: int, text_pivots: int) -> list[int]:
    def by_norm(keys: Any) -> list[int]:
        norm = keys.double().abs().sum((0, 2)).tolist()
        return sorted(range(len(norm)), key=lambda i: (-norm[i], i))

    assert shown.hidden is not None and shown.text_hidden is not None
    own = by_norm(shown.keys)[:visual_pivots][: shown.count]
    pivots: list[Tensor] = [shown.hidden[i] for i in own]
    pivots += [shown.text_hidden[i] for i in by_norm(shown.text_keys)[:text_pivots]]
    kept, total = list(own), shown.count - len(own)
    for turn, pivot in enumerate(pivots):
        dots = (shown.hidden.double() @ pivot.double()).tolist()
        left = [i for i in range(len(dots)) if i not in kept]
        share = total // len(pivots) + (turn < total % len(pivots))
        kept += sorted(left, key=lambda i: (dots[i], i))[:share]
    return sorted(kept)


def test_the_default_is_layer_2_of_32_and_four_pivots_of_each() -> None:
    schedule = dart.schedule(576, 2880, 32)
    assert (schedule.layers, schedule.counts) == ((2,), (576,))
    assert schedule.ranker.rank == DartRank(visual_pivots=4, text_pivots=4)
    assert schedule.ranker.asks == {"keys", "hidden"}
    assert dart.schedule(3, 9, 4).layers == (1,)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 1.0}, "^depth: 1.0 is out of range"),
        ({"visual_pivots": -1}, "^visual_pivots: -1 is out of range"),
        ({"text_pivots": -1}, "^text_pivots: -1 is out of range"),
        ({"visual_pivots": 0, "text_pivots": 0}, "^visual_pivots: 0 is out of range"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DartOptions(**options)
