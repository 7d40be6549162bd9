"""Methods inside the language model: the engine's texts are those of a recomputation in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hired_core.backends.slots.backend import SlotBackend
from hired_core.language.model import Request
from hired_core.methods.in_llm import dart, pyramiddrop, sparsevlm
from hired_core.methods.in_llm.dart import DartOptions
from hired_core.methods.in_llm.sparsevlm import SparseVLMOptions
from hired_core.methods.schedule import MakeSchedule
from tests.support.checkpoints import MANY_STOPS, build_checkpoint
from tests.support.engine_cases import QUESTIONS, alone, ask, tokens
from tests.support.gathered_decoding import (
    Gathered,
    Pick,
    by_last_word_ahead,
    by_pivots,
    by_raters,
)
from tests.support.halves import Halves
from tests.support.masked_decoding import scheduled_backend

NEW, LAYERS, MOST = 8, 6, 55


@dataclass(frozen=True, kw_only=True)
class Inside:
    """A method, and its rule written apart."""

    schedule: MakeSchedule
    options: Any
    pick: Pick


CASES = {
    "pyramiddrop": Inside(
        schedule=pyramiddrop.schedule, options=pyramiddrop.DEFAULTS, pick=by_last_word_ahead
    ),
    "sparsevlm": Inside(
        schedule=sparsevlm.schedule, options=sparsevlm.DEFAULTS, pick=by_raters(recycle=True)
    ),
    "sparsevlm-plain": Inside(
        schedule=sparsevlm.schedule,
        options=SparseVLMOptions(recycle=False, profile=64),
        pick=by_raters(recycle=False),
    ),
    "dart": Inside(schedule=dart.schedule, options=dart.DEFAULTS, pick=by_pivots(4, 4)),
    "dart-few": Inside(
        schedule=dart.schedule,
        options=DartOptions(depth=0.5, visual_pivots=1, text_pivots=2),
        pick=by_pivots(1, 2),
    ),
}


@pytest.fixture(scope="module", params=["grouped", "all"])
def halves(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Halves:
    """Six layers; two query heads for each key-value head, or one."""
    shape = {"num_hidden_layers": LAYERS, "num_key_value_heads": 2 if "g" in request.param else 4}
    folder: Path = tmp_path_factory.mktemp(request.param)
    return Halves(build_checkpoint(folder, seed=11, stop_ids=MANY_STOPS, **shape))


def mixed(halves: Halves) -> list[Request]:
    """Questions about images of 3 to 55 visual tokens, some with newlines."""
    sizes = (MOST, 3, 24, 40)
    pairs = [(0, 0), (0, 5), (1, 1), (2, 2), (3, 3), (3, 0)]
    return [ask(halves, i, sizes[i], [QUESTIONS[q]], newline=i % 2 == 0)[0] for i, q in pairs]


def backend(halves: Halves, case: Inside, count: int, **given: Any) -> SlotBackend:
    schedule = case.schedule(count, MOST, LAYERS, case.options)
    return scheduled_backend(halves.language, mixed(halves), schedule, max_new_tokens=NEW, **given)


def expected(halves: Halves, case: Inside, count: int) -> list[list[int]]:
    schedule = case.schedule(count, MOST, LAYERS, case.options)
    drops = dict(zip(schedule.layers, schedule.counts, strict=True))
    gathered = Gathered(halves.language, drops, case.pick)
    return [gathered.generate(request, NEW) for request in mixed(halves)]


@pytest.mark.parametrize("name", CASES)
def test_texts_are_those_of_the_rule_recomputed(halves: Halves, name: str) -> None:
    """At once, in chunks, and whatever shares the slots."""
    case, requests = CASES[name], mixed(halves)
    wanted = expected(halves, case, 9)
    assert tokens(backend(halves, case, 9), requests) == wanted
    assert tokens(backend(halves, case, 9, chunk=7, num_slots=1), requests) == wanted
    mates = tokens(backend(halves, case, 9, chunk=16, num_slots=4), requests[::-1] + requests)
    assert mates == wanted[::-1] + wanted
    dense = [alone(halves.language, request, NEW) for request in requests]
    changed = [a != b for a, b in zip(wanted, dense, strict=True)]
    assert sum(changed) >= 3, "dropping changes nothing"
    assert not changed[2], "three visual tokens are not dropped"


@pytest.mark.parametrize("name", CASES)
def test_one_token_is_left(halves: Halves, name: str) -> None:
    assert tokens(backend(halves, CASES[name], 1), mixed(halves)) == expected(
        halves, CASES[name], 1
    )


def test_no_text_behind_the_image(halves: Halves) -> None:
    """The prompt's last row, a newline, is looked at instead; means of clusters come last."""
    (one,) = ask(halves, 0, MOST, ["What?"], newline=True)
    newline = one.sequence[one.sequence < 0]
    bare = replace(one, after=[], sequence=torch.cat([one.sequence, newline]))
    for name in CASES:
        whole, parts = (
            tokens(backend(halves, CASES[name], 9, chunk=chunk), [bare, one]) for chunk in (4096, 7)
        )
        assert whole == parts, name
