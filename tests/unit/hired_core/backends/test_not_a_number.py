"""A model that falls apart in the middle of a text: that text is none, and no other suffers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hired_core.backends.base import Backend
from hired_core.backends.reference import ReferenceBackend
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from tests.support.engine_cases import Case


@contextmanager
def poisonous(case: Case, token: int) -> Iterator[None]:
    """Whoever reads this token computes with NaN from there on."""

    def spoil(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output.masked_fill((inputs[0] == token)[..., None], torch.nan)

    words: nn.Module = case.model.decoder.get_input_embeddings()
    handle = words.register_forward_hook(spoil)
    try:
        yield
    finally:
        handle.remove()


FEW = slice(0, 30)


def poison_for(case: Case, *, at: int) -> int:
    """A token that no prompt has, and that several of the FEW texts read, some at step `at`."""
    prompts = {t for request in case.requests for t in (*request.before, *request.after)}
    read = Counter(t for ids in case.expected[FEW] for t in {*ids[:-1]} - prompts)
    there = {ids[at] for ids in case.expected[FEW] if len(ids) > at + 1}
    return next(t for t, _ in read.most_common() if t in there)


def backends(case: Case, **settings: Any) -> dict[str, Backend]:
    given = GenerationSettings(**({"max_new_tokens": case.max_new_tokens} | settings))
    return {
        "slots": case.backend(num_slots=3, **settings),
        "reference": ReferenceBackend(case.model, given, batch_size=4),
    }


def ends(backend: Backend, requests: list[Request]) -> list[list[int] | None]:
    """Of each request alone; None where it failed for this reason."""
    found: list[list[int] | None] = []
    for request in requests:
        try:
            found.append(backend.generate([request])[0].token_ids)
        except RuntimeError as exc:
            assert "not a number" in str(exc)
            found.append(None)
    return found


@pytest.mark.parametrize("name", ["slots", "reference"])
@pytest.mark.parametrize("at", [1, 4])
def test_texts_that_read_it_fail_and_others_are_as_ever(grouped: Case, name: str, at: int) -> None:
    token = poison_for(grouped, at=at)
    expected = [None if token in ids[:-1] else ids for ids in grouped.expected[FEW]]
    # The last token is read as well where the text goes on to a stop that is not among its ids.
    last = [ids[-1:] == [token] for ids in grouped.expected[FEW]]
    backend = backends(grouped)[name]
    with poisonous(grouped, token):
        found = ends(backend, grouped.requests[FEW])
    checked = [i for i, is_last in enumerate(last) if not is_last]
    assert [found[i] for i in checked] == [expected[i] for i in checked]
    assert None in found and any(found)


@pytest.mark.parametrize("name", ["slots", "reference"])
def test_a_call_fails_as_a_whole_and_the_next_is_sound(grouped: Case, name: str) -> None:
    """Side by side in slots, and after it in the same slots: a NaN stays where it arose."""
    token = poison_for(grouped, at=2)
    bad = next(i for i, ids in enumerate(grouped.expected) if token in ids[1:-1])
    good = [i for i, ids in enumerate(grouped.expected) if token not in ids][:9]
    backend = backends(grouped)[name]
    with poisonous(grouped, token):
        with pytest.raises(RuntimeError, match="not a number"):
            backend.generate([grouped.requests[i] for i in (good[0], bad, *good)])
        found = backend.generate([grouped.requests[i] for i in good])
    assert [completion.token_ids for completion in found] == [grouped.expected[i] for i in good]


@pytest.mark.parametrize("name", ["slots", "reference"])
@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.7, "seed": 3}, {"no_repeat_ngram_size": 1}, {"stop_strings": ("q",)}],
)
def test_whichever_way_tokens_are_chosen(grouped: Case, name: str, settings: Any) -> None:
    backend = backends(grouped, **settings)[name]
    sound = backend.generate(grouped.requests[:12])
    tokens = Counter(t for completion in sound for t in completion.token_ids[1:-1])
    prompts = {t for request in grouped.requests for t in (*request.before, *request.after)}
    token = next(t for t, _ in tokens.most_common() if t not in prompts)
    bad = [i for i, done in enumerate(sound) if token in done.token_ids[:-1]]
    assert bad
    with poisonous(grouped, token):
        found = ends(backend, grouped.requests[:12])
    assert [found[i] for i in bad] == [None] * len(bad)


def test_steady_steps_ask_the_device_nothing_more(
    grouped: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at a time, whether a slot has ended and whether it is broken together."""
    backend, looks = grouped.backend(num_slots=4), []
    backend._poll_every = 8
    tolist = Tensor.tolist

    def counted(tensor: Tensor) -> Any:
        if tensor.dtype == torch.bool:
            looks.append(tensor.shape)
        return tolist(tensor)

    monkeypatch.setattr(Tensor, "tolist", counted)
    polls, end = [], backend._end_finished
    monkeypatch.setattr(backend, "_end_finished", lambda look: (polls.append(0), end(look)))
    backend.generate(grouped.requests[:8])
    assert looks == [(2, 4)] * len(polls) and polls
