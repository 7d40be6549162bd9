"""Rows dropped between layers: the engine's texts are those of whole sequences under masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hired_core.backends.slots.backend import SlotBackend
from hired_core.language.model import Request
from hired_core.methods.in_llm import fastv
from hired_core.methods.in_llm.fastv import FastVOptions
from hired_core.methods.schedule import KeepSchedule, Ranker, Shown
from tests.support.checkpoints import MANY_STOPS, build_checkpoint
from tests.support.engine_cases import QUESTIONS, alone, apart, ask, tokens
from tests.support.halves import Halves, picture
from tests.support.masked_decoding import (
    Masked,
    Score,
    by_last_attention,
    by_small_keys,
    scheduled_backend,
)
from tests.support.settings import reduction

NEW = 10
LAYERS = 5
HEADS = {"grouped": 2, "all": 4}


@pytest.fixture(scope="module", params=HEADS)
def halves(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Halves:
    """Five layers; two query heads for each key-value head, or one."""
    return build(tmp_path_factory.mktemp(request.param), HEADS[request.param])


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Halves:
    return build(tmp_path_factory.mktemp("deep"), 2)


def build(folder: Path, num_key_value_heads: int) -> Halves:
    shape = {"num_hidden_layers": LAYERS, "num_key_value_heads": num_key_value_heads}
    return Halves(build_checkpoint(folder, seed=7, stop_ids=MANY_STOPS, **shape))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Requests, and their texts when FastV keeps eight visual tokens from layer 2 on."""

    halves: Halves
    requests: list[Request]
    expected: list[list[int]]


@pytest.fixture(scope="module")
def asked(deep: Halves) -> Asked:
    requests = mixed(deep)
    return Asked(halves=deep, requests=requests, expected=expected(deep, requests, {2: 8}))


def mixed(halves: Halves) -> list[Request]:
    """Ten questions about five images of 3 to 55 visual tokens, some with newlines."""
    requests: list[Request] = []
    for index in range(5):
        texts = [QUESTIONS[(index + i) % len(QUESTIONS)] for i in range(1 + index % 3 + index // 4)]
        requests += ask(halves, index, 3 + 17 * index % 36, texts, newline=index % 2 == 0)
    return requests


def expected(
    halves: Halves, requests: list[Request], drops: dict[int, int], score: Score = by_last_attention
) -> list[list[int]]:
    masked = Masked(halves.language, drops, score)
    return [masked.generate(request, NEW) for request in requests]


def dense(halves: Halves, requests: list[Request]) -> list[list[int]]:
    return [alone(halves.language, request, NEW) for request in requests]


def fastv_backend(
    halves: Halves, requests: list[Request], layer: int, count: int, **given: Any
) -> SlotBackend:
    schedule = fastv.schedule(count, 55, LAYERS, FastVOptions(depth=layer / LAYERS))
    assert schedule.layers == (layer,)
    return scheduled_backend(halves.language, requests, schedule, max_new_tokens=NEW, **given)


@pytest.mark.parametrize(("layer", "count"), [(1, 1), (1, 8), (2, 8), (2, 25), (4, 3)])
def test_fastv_is_what_masks_give(halves: Halves, layer: int, count: int) -> None:
    """Three slots are refilled; prompts are read at once."""
    requests = mixed(halves)
    backend = fastv_backend(halves, requests, layer, count)
    wanted = expected(halves, requests, {layer: count})
    assert tokens(backend, requests) == wanted
    changed = sum(a != b for a, b in zip(wanted, dense(halves, requests), strict=True))
    assert changed >= 3, "dropping changes nothing"


@pytest.mark.parametrize("chunk", [1, 7, 16])
def test_prompts_are_read_in_chunks(asked: Asked, chunk: int) -> None:
    """Before and after the drop; some chunks end with a row that is dropped."""
    backend = fastv_backend(asked.halves, asked.requests, 2, 8, chunk=chunk)
    assert tokens(backend, asked.requests) == asked.expected


@pytest.mark.parametrize(("count", "chunk"), [(55, 7), (500, 4096)])
def test_a_count_that_no_image_exceeds_is_dense(deep: Halves, count: int, chunk: int) -> None:
    requests = mixed(deep)
    backend = fastv_backend(deep, requests, 2, count, chunk=chunk)
    assert len(backend._reader.decoder.caches) == 2
    assert tokens(backend, requests) == dense(deep, requests)


def smallest_keys(shown: Shown) -> Tensor:
    assert shown.keys is not None and shown.last_attention is None, "more is shown than asked for"
    assert 1 <= shown.count < shown.keys.shape[1]
    return -shown.keys.abs().sum(dim=(0, 2))


KEYS = Ranker(asks=frozenset({"keys"}), rank=smallest_keys)


@pytest.mark.parametrize("chunk", [9, 4096])
@pytest.mark.parametrize(
    ("ranker", "score"), [(fastv.RANKER, by_last_attention), (KEYS, by_small_keys)]
)
def test_rows_leave_at_several_layers(
    deep: Halves, ranker: Ranker, score: Score, chunk: int
) -> None:
    """What is left is ranked anew at each."""
    drops = {1: 20, 2: 20, 3: 6, 4: 2}
    requests = mixed(deep)
    schedule = KeepSchedule(layers=tuple(drops), counts=tuple(drops.values()), ranker=ranker)
    backend = scheduled_backend(deep.language, requests, schedule, max_new_tokens=NEW, chunk=chunk)
    assert tokens(backend, requests) == expected(deep, requests, drops, score)


def test_gaps_in_rotary_positions_stay(deep: Halves) -> None:
    """Of a method before the language model that keeps positions; both drop."""
    images = [picture(56, 112), picture(150, 60), picture(112, 112)]
    settings = reduction(method="hired", token_budget=0.3)
    requests = deep.requests(images, QUESTIONS[:3], settings, "kept-rows", "original")
    assert min(request.shift for request in requests) > 0
    wanted = expected(deep, requests, {2: 5})
    assert tokens(fastv_backend(deep, requests, 2, 5, num_slots=2), requests) == wanted
    compact = [replace(request, places=None) for request in requests]
    assert expected(deep, compact, {2: 5}) != wanted, "gaps make no difference"


@pytest.mark.parametrize("num_slots", [1, 2, 7])
def test_texts_do_not_depend_on_what_shares_the_slots(asked: Asked, num_slots: int) -> None:
    backend = fastv_backend(asked.halves, asked.requests, 2, 8, num_slots=num_slots)
    order = [3, 9, 0, 7, 1, 8, 2, 6, 4, 5]
    twice = [asked.requests[i] for i in [*order, *reversed(order)]]
    wanted = [asked.expected[i] for i in [*order, *reversed(order)]]
    assert tokens(backend, twice) == wanted
    assert tokens(backend, [apart(request) for request in twice]) == wanted


def test_draws_do_not_depend_on_what_shares_the_slots(deep: Halves) -> None:
    requests = [replace(request, seed=seed) for seed, request in enumerate(mixed(deep))]
    one, many = (
        tokens(fastv_backend(deep, requests, 2, 8, num_slots=n, temperature=1.0), requests)
        for n in (1, 4)
    )
    assert one == many


def test_questions_about_an_image_share_the_text_before_it(deep: Halves) -> None:
    """And no more: what is dropped depends on the question."""
    requests = ask(deep, 1, 30, QUESTIONS[:4])
    backend, reads = fastv_backend(deep, requests, 2, 8), list[tuple[int, int]]()
    decoder = backend._reader.decoder
    prefill = decoder.prefill

    def noting(embeds: Tensor, slot: int, start: int, *rows: Any) -> Tensor:
        reads.append((start, embeds.shape[0]))
        return prefill(embeds, slot, start, *rows)

    decoder.prefill = noting  # type: ignore[method-assign]
    assert tokens(backend, requests) == expected(deep, requests, {2: 8})
    before = len(requests[0].before)
    assert before > 1
    first = (0, requests[0].num_prompt_tokens)
    assert reads == [first, *((before, r.num_prompt_tokens - before) for r in requests[1:])]


def test_short_of_memory_for_a_while(asked: Asked) -> None:
    """What ran in other slots begins anew, in caches that hold something else."""
    backend = fastv_backend(asked.halves, asked.requests, 2, 8, num_slots=4)
    step, calls, admitted = backend._step, list[int](), list[int]()

    def failing(num_slots: int, longest: Sequence[int]) -> None:
        calls.append(num_slots)
        admitted.append(backend._admission.count)
        if len(calls) in (3, 8):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        step(num_slots, longest)

    backend._step = failing
    assert tokens(backend, asked.requests) == asked.expected
    assert sorted(set(admitted)) == [1, 2, 4]


def test_nothing_of_a_request_that_was_not_a_number_stays(deep: Halves) -> None:
    """In any of the caches: a masked cell is read with weight 0, and 0 times NaN is NaN."""
    pairs = (ask(deep, seed, 30, ["What?", QUESTIONS[5]]) for seed in range(9))
    found = ((pair, expected(deep, pair, {2: 8})) for pair in pairs)
    # Past their first tokens, so that the short one is read beside the longer.
    (short, long), wanted = next(one for one in found if min(map(len, one[1])) > 1)
    spoilt = replace(long, features=torch.full_like(long.features, torch.nan))
    backend = fastv_backend(deep, [short, long], 2, 8, num_slots=2)
    with pytest.raises(RuntimeError, match="not a number"):
        backend.generate([spoilt, spoilt])
    assert tokens(backend, [short, long]) == wanted


def test_a_request_must_fit_the_layers_after_a_drop(deep: Halves) -> None:
    """One with few visual tokens and much text may not, where one with many does."""
    (many,) = ask(deep, 1, 30, ["What?"])
    (few,) = ask(deep, 1, 2, ["What?"])
    text = few.num_prompt_tokens - 2
    wordy = replace(few, after=few.after[:-1] * 2 + few.after[-1:])
    assert text + 5 < wordy.num_prompt_tokens < many.num_prompt_tokens
    backend = fastv_backend(deep, [many], 2, 5)
    assert backend.layout.lengths == (text + 30 + NEW, text + 5 + NEW)
    assert tokens(backend, [many, few]) == expected(deep, [many, few], {2: 5})
    needed = wordy.num_prompt_tokens + NEW
    message = f"^{needed} positions needed where rows are dropped, a slot has {text + 5 + NEW}$"
    with pytest.raises(ValueError, match=message):
        backend.generate([wordy])


def test_a_layer_that_the_decoder_does_not_have(deep: Halves) -> None:
    schedule = KeepSchedule(layers=(LAYERS,), counts=(3,), ranker=fastv.RANKER)
    with pytest.raises(ValueError, match=r"^rows are to be dropped at layer 5 of 5$"):
        scheduled_backend(deep.language, mixed(deep), schedule, max_new_tokens=NEW)
