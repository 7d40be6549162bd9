"""Texts of a form: both backends give the same tokens, in any mix, as does a way that is apart.

The decoder has random weights, and stops at ids that would also spell something.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

import hired_core
from hired_core.backends.reference import ReferenceBackend
from hired_core.backends.slots.backend import SlotBackend
from hired_core.backends.slots.graphs import Step, make_step
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import LanguageModel, Request
from hired_core.methods.schedule import KeepSchedule
from tests.support.engine_cases import Case, tokens
from tests.support.halves import slot_backend

NEW = 40
SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "grey", "ink"]},
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
        "tag": {"type": "string", "maxLength": 3},
    },
    "required": ["colour", "n", "tag"],
}
CHOICES = ("red", "red ring", "a blue star", "none")
FORMS: dict[str, dict[str, Any]] = {"schema": {"schema": SCHEMA}, "choices": {"choices": CHOICES}}
OTHERS: dict[str, dict[str, Any]] = {
    "alone": {},
    "penalty": {"repetition_penalty": 1.8},
    "all": {
        "repetition_penalty": 0.8,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 20,
        "stop_strings": ("ri", "1"),
    },
}


def settings_of(form: str, other: str = "alone", **more: Any) -> GenerationSettings:
    return GenerationSettings(**({"max_new_tokens": NEW} | FORMS[form] | OTHERS[other] | more))


@pytest.fixture(scope="module")
def model(grouped: Case) -> LanguageModel:
    """All single letters are there to spell with."""
    spell = grouped.model.tokenizer.decode
    stop = frozenset(i for i in grouped.model.stop_ids if len(spell([i])) != 1)
    assert len(stop) > 8
    return replace(grouped.model, stop_ids=stop)


@pytest.fixture(scope="module")
def asked(grouped: Case) -> list[Request]:
    """Some share an image, and their lengths are uneven."""
    requests = grouped.requests[:24]
    assert len({id(request.features) for request in requests}) < 20
    return requests


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("form", FORMS)
def test_both_backends_give_the_same_tokens(
    model: LanguageModel, asked: list[Request], form: str, other: str
) -> None:
    settings = settings_of(form, other)
    reference = ReferenceBackend(model, settings, batch_size=7).generate(asked)
    for num_slots, chunk in ((1, 4096), (3, 16), (24, 4096)):
        backend = slot_backend(model, asked, settings, num_slots=num_slots, chunk=chunk)
        assert backend.generate(asked) == reference
    assert len({completion.text for completion in reference}) > 2
    check_form = settings.form
    assert check_form is not None
    if other != "all":  # There a stop string may cut a text short.
        assert [check_form.fault(each.text) for each in reference] == [None] * len(asked)
        assert {each.finish_reason for each in reference} == {"stop"}


def test_sampled_texts_are_of_the_form_and_their_own(
    model: LanguageModel, asked: list[Request]
) -> None:
    settings = settings_of("schema", temperature=1.5, top_p=0.95)
    seeded = [replace(request, seed=i) for i, request in enumerate(asked)]
    found = slot_backend(model, seeded, settings, num_slots=5).generate(seeded)
    alone = slot_backend(model, seeded, settings, num_slots=1)
    assert alone.generate(seeded[::-1])[::-1] == found
    form = settings.form
    assert form is not None and {form.fault(each.text) for each in found} == {None}
    assert len({each.text for each in found}) > 15
    reference = ReferenceBackend(model, settings).generate(seeded[:6])
    assert {form.fault(each.text) for each in reference} == {None}


@torch.inference_mode()
def choose_by_hand(model: LanguageModel, request: Request, choices: Sequence[str]) -> str:
    """Greedy, over strings and whole passes: of all words that go on as some choice does (a blank
    may come first), or stop words where one is whole, the likeliest; again from there."""
    words = [model.tokenizer.decode([i]) for i in range(model.spec.vocab_size)]
    embeds, text = model.embed(request), ""
    goals = [*choices, *(f" {choice}" for choice in choices)]
    while True:
        logits = model.decoder(inputs_embeds=embeds[None]).logits[0, -1]
        stops = model.stop_ids if text in goals else frozenset()
        fits = [i for i, word in enumerate(words) if word and i not in model.stop_ids
                and any(goal.startswith(text + word) for goal in goals)]  # fmt: skip
        best = max([*fits, *stops], key=lambda i: float(logits[i]))
        if best in stops:
            return text.strip()
        text += words[best]
        row = model.decoder.get_input_embeddings()(torch.tensor([best]))
        embeds = torch.cat([embeds, row])


@pytest.mark.parametrize("choices", [("red", "grey", "ink"), CHOICES])
def test_a_choice_is_the_likeliest_word_by_word(
    model: LanguageModel, asked: list[Request], choices: tuple[str, ...]
) -> None:
    settings = GenerationSettings(max_new_tokens=NEW, choices=choices)
    found = slot_backend(model, asked, settings).generate(asked)
    expected = [choose_by_hand(model, request, choices) for request in asked]
    assert [each.text for each in found] == expected
    assert len(set(expected)) > 1


def test_a_form_holds_where_rows_are_dropped_between_layers(
    model: LanguageModel, asked: list[Request]
) -> None:
    """The form is of the text alone: what the decoder reads plays no part."""
    settings = settings_of("schema")
    schedule = hired_core.ReductionSettings(method="fastv", budget=4).schedule(30, 2)
    assert isinstance(schedule, KeepSchedule)
    backend = _dropping(model, asked, settings, schedule)
    form = settings.form
    assert form is not None
    assert {form.fault(each.text) for each in backend.generate(asked)} == {None}


def _dropping(
    model: LanguageModel,
    asked: list[Request],
    settings: GenerationSettings,
    schedule: KeepSchedule,
) -> SlotBackend:
    from tests.support.halves import slot_layout

    longest = max(request.num_prompt_tokens for request in asked) + NEW
    layout = slot_layout(4, longest, schedule=schedule, num_visual=4)
    return SlotBackend(model, settings, layout)


def test_a_step_that_runs_out_of_memory_takes_no_token_twice(
    model: LanguageModel, asked: list[Request]
) -> None:
    settings = settings_of("schema", "penalty")
    expected = tokens(slot_backend(model, asked, settings, num_slots=6), asked)
    backend = slot_backend(model, asked, settings, num_slots=6)
    advance, calls = backend._state.advance, list[int]()

    def failing(logits: torch.Tensor) -> None:
        calls.append(logits.shape[0])
        if len(calls) in (4, 9):
            raise torch.OutOfMemoryError
        advance(logits)

    backend._state.advance = failing  # type: ignore[method-assign]
    assert tokens(backend, asked) == expected
    assert len(calls) > 10 and min(calls) < 6


def test_the_two_halves_of_a_step_may_be_captured(
    model: LanguageModel, asked: list[Request]
) -> None:
    """As on a GPU, whose graphs work on a power of two of slots and on all positions: what is
    captured is done, undone and done again; here each time."""
    settings = settings_of("schema", "penalty")
    expected = tokens(slot_backend(model, asked, settings, num_slots=6), asked)
    backend = slot_backend(model, asked, settings, num_slots=6)
    decoder, state = backend._reader.decoder, backend._state
    seen: set[int] = set()

    def capturing(work: Step) -> Step:
        def run(num_slots: int, longest: Sequence[int]) -> None:
            bucket = min(1 << (num_slots - 1).bit_length(), 6)
            lengths = [cache.max_length for cache in decoder.caches]
            seen.add(bucket)
            saved = state.clone()
            work(bucket, lengths)
            state.restore(saved)
            work(bucket, lengths)

        return run

    backend._step = make_step(decoder, state, backend._masks, graphed=capturing)
    assert tokens(backend, asked) == expected
    assert len(seen) > 1


def test_a_text_that_reaches_the_limit_says_so(model: LanguageModel, asked: list[Request]) -> None:
    settings = settings_of("schema", max_new_tokens=6)
    found = slot_backend(model, asked, settings).generate(asked)
    assert {each.finish_reason for each in found} == {"length"}
    form = settings.form
    assert form is not None
    assert all("no JSON" in (form.fault(each.text) or "") for each in found)


def test_without_a_form_there_are_no_masks(grouped: Case) -> None:
    backend = grouped.backend(num_slots=2)
    assert backend._state.masks is None and backend._masks is None
    assert tokens(backend, grouped.requests[:5]) == grouped.expected[:5]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("form", FORMS)
def test_on_a_gpu_through_graphs(form: str) -> None:
    from tests.support.engine_cases import uneven
    from tests.support.halves import Halves

    halves = Halves("embedded", device=torch.device("cuda"))
    asked, settings = uneven(halves, 60), settings_of(form, "penalty")
    reference = ReferenceBackend(halves.language, settings, batch_size=7).generate(asked)
    found = slot_backend(halves.language, asked, settings, num_slots=5).generate(asked)
    assert [each.token_ids for each in found] == [each.token_ids for each in reference]


def test_the_object_of_ten_lines_takes_a_form() -> None:
    generation = GenerationSettings(max_new_tokens=NEW, schema=SCHEMA)
    vlm = hired_core.load(generation=generation, slots=2)
    image = torch.zeros(50, 60, 3, dtype=torch.uint8).numpy()
    answers = vlm.ask(image, ["What?", "Which colour?"])
    for answer in answers:
        assert set(json.loads(answer.text)) == {"colour", "n", "tag"}
