"""Greedy tokens of the slot engine equal transformers' `generate` for each request alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from hired_core.backends.slots.backend import SlotBackend
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from tests.support.checkpoints import MANY_STOPS, build_checkpoint
from tests.support.engine_cases import Case, alone, ask, make_case, tokens
from tests.support.halves import Halves, slot_backend, slot_layout

SHAPES: dict[str, dict[str, Any]] = {
    "one key-value head": {"num_key_value_heads": 1},
    "all key-value heads": {"num_key_value_heads": 4},
    "wide heads": {"num_key_value_heads": 2, "head_dim": 48},
    "tied": {"tied": True},
}


def check(case: Case, num_slots: int, **layout: int) -> SlotBackend:
    """Tokens, in order, and why they end."""
    backend = case.backend(num_slots=num_slots, **layout)
    found = backend.generate(case.requests)
    assert [completion.token_ids for completion in found] == case.expected
    assert [completion.finish_reason for completion in found] == case.finish_reasons()
    return backend


def check_not_degenerate(case: Case, num_slots: int) -> None:
    lengths = {request.num_prompt_tokens for request in case.requests}
    ends = {len(ids) for ids in case.expected}
    assert len(case.requests) == 200 and num_slots == 5  # A slot is refilled some 40 times.
    assert len(lengths) > 20 and max(lengths) > 3 * min(lengths)
    assert len(ends) >= 5, "requests end at the same few steps"
    assert len({tuple(ids) for ids in case.expected}) >= 50
    assert min(case.finish_reasons().count(reason) for reason in ("stop", "length")) >= 10
    images = {id(request.features) for request in case.requests}
    assert 50 < len(images) < 100, "few questions share an image, or all do"


def test_two_hundred_requests_of_uneven_lengths_over_five_slots(grouped: Case) -> None:
    check_not_degenerate(grouped, 5)
    check(grouped, 5)


def test_two_hundred_requests_to_the_embedded_checkpoint() -> None:
    """Here many stop at once, some with the first token."""
    case = make_case(Halves("embedded"), 200, 8)
    check_not_degenerate(case, 5)
    assert [] in case.expected
    check(case, 5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_two_hundred_requests_on_a_gpu() -> None:
    """In float32, through CUDA graphs; a GPU's own `generate` is the measure."""
    case = make_case(Halves("embedded", device=torch.device("cuda")), 200, 8)
    check_not_degenerate(case, 5)
    check(case, 5)


@pytest.mark.parametrize("shape", SHAPES)
def test_other_decoder_shapes(tmp_path: Path, shape: str) -> None:
    halves = Halves(build_checkpoint(tmp_path, seed=5, stop_ids=MANY_STOPS, **SHAPES[shape]))
    check(make_case(halves, 30, 8), 4)


def test_requests_of_four_threads_share_the_slots(grouped: Case) -> None:
    """In calls of one to seven requests, so that calls begin and end at all times."""
    backend = grouped.backend(num_slots=5)
    starts = [0]
    while starts[-1] < 200:
        starts.append(starts[-1] + 1 + len(starts) % 7)
    calls = [slice(a, b) for a, b in pairwise(starts)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda call: tokens(backend, grouped.requests[call]), calls))
    assert [ids for call in found for ids in call] == grouped.expected


@pytest.mark.parametrize("chunk", [1, 16])
def test_prompts_are_read_in_chunks(grouped: Case, chunk: int) -> None:
    """Apart from what earlier requests left, so that each prompt begins at its first position."""
    part = dataclasses.replace(
        grouped, requests=grouped.requests[:20], expected=grouped.expected[:20]
    )
    check(part, 3, chunk=chunk)


@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_a_prompt_at_the_edge_of_a_chunk(grouped: Case, chunks: int, over: int) -> None:
    halves = grouped.halves
    (base,) = ask(halves, 1, 1, ["What?"])
    visual = 16 * chunks + over - base.num_prompt_tokens + 1
    if visual < 1:  # The words alone are more than a chunk: let it be a larger one.
        pytest.skip("shorter than any prompt")
    (request,) = ask(halves, 1, visual, ["What?"])
    assert request.num_prompt_tokens == 16 * chunks + over
    settings = GenerationSettings(max_new_tokens=6)
    backend = slot_backend(halves.language, [request], settings, num_slots=1, chunk=16)
    assert tokens(backend, [request]) == [alone(halves.language, request, 6)]


@pytest.mark.parametrize("num_slots", [1, 2])
def test_few_slots(grouped: Case, num_slots: int) -> None:
    part = dataclasses.replace(
        grouped, requests=grouped.requests[:15], expected=grouped.expected[:15]
    )
    check(part, num_slots)


def test_a_single_token(grouped: Case) -> None:
    """Reading a prompt gives it: no step is ever taken."""
    backend = grouped.backend(num_slots=3, max_new_tokens=1)
    backend._step = _never
    found = backend.generate(grouped.requests[:40])
    assert [c.token_ids for c in found] == [ids[:1] for ids in grouped.expected[:40]]
    firsts = {len(ids) == 0 for ids in grouped.expected[:40]}
    reasons = {c.finish_reason for c in found}
    assert reasons == ({"stop", "length"} if True in firsts else {"length"})


def _never(num_slots: int, longest: Sequence[int]) -> None:
    raise AssertionError("a step was taken")


def test_no_requests(grouped: Case) -> None:
    assert grouped.backend(num_slots=2).generate([]) == []


def test_a_request_fits_a_slot_to_the_last_position(grouped: Case) -> None:
    """And one position less is refused with both numbers, before anything of the call is run."""
    (request,) = ask(grouped.halves, 4, 9, ["What?"])
    length = request.num_prompt_tokens + 12
    settings = GenerationSettings(max_new_tokens=12)
    exact = SlotBackend(grouped.model, settings, slot_layout(1, length))
    assert tokens(exact, [request]) == [alone(grouped.model, request, 12)]
    short = SlotBackend(grouped.model, settings, slot_layout(1, length - 1))
    other: Request = ask(grouped.halves, 4, 3, ["What?"])[0]
    with pytest.raises(ValueError, match=rf"^{length} positions needed, a slot has {length - 1}$"):
        short.generate([other, request])
    assert not short._waiting
    assert tokens(short, [other]) == [alone(grouped.model, other, 12)]


class Ticking:
    """A clock on which every look takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def longest_two(case: Case) -> list[int]:
    full = [i for i, ids in enumerate(case.expected) if len(ids) == case.max_new_tokens]
    return full[:2]


def test_a_request_that_takes_too_long_ends_as_a_torso(grouped: Case) -> None:
    """Alone it has a second for its prompt and one for each further token."""
    (first, _) = longest_two(grouped)
    backend = grouped.backend(num_slots=2, generation_timeout_sec=3.5)
    backend._clock = Ticking()
    (found,) = backend.generate([grouped.requests[first]])
    assert (found.finish_reason, found.token_ids) == ("timeout", grouped.expected[first][:4])
    assert (found.prefill_sec, found.decode_sec) == (1.0, 3.0)


def test_seconds_of_a_step_are_shared_by_the_slots(grouped: Case) -> None:
    """Two at once have half a second each of every step, so that they come twice as far."""
    chosen = longest_two(grouped)
    backend = grouped.backend(num_slots=2, generation_timeout_sec=3.25)
    backend._clock = Ticking()
    found = backend.generate([grouped.requests[i] for i in chosen])
    assert [c.finish_reason for c in found] == ["timeout"] * 2
    # A second for the prompt; then 1.5 and 2, and at 2.5 both are over.
    assert [c.token_ids for c in found] == [grouped.expected[i][:6] for i in chosen]


def test_the_last_token_that_was_allowed_is_no_timeout(grouped: Case) -> None:
    (first, _) = longest_two(grouped)
    backend = grouped.backend(num_slots=1, generation_timeout_sec=11.5)
    backend._clock = Ticking()
    (found,) = backend.generate([grouped.requests[first]])
    assert (found.finish_reason, found.token_ids) == ("length", grouped.expected[first])
    assert found.decode_sec == 11.0


def test_a_slot_of_a_request_that_ran_out_of_time_is_used_again(grouped: Case) -> None:
    backend = grouped.backend(num_slots=1, generation_timeout_sec=3.5)
    backend._clock = Ticking()
    found = backend.generate(grouped.requests[:30])
    for completion, expected in zip(found, grouped.expected[:30], strict=True):
        assert completion.token_ids == expected[:4]
        late = len(expected) > 3
        assert completion.finish_reason == ("timeout" if late else "stop")
