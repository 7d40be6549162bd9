"""What a token may not be: transformers' own processors, and its `generate`, are the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from hired_core.backends.reference import ReferenceBackend
from hired_core.backends.slots.penalties import forbid_ngrams, forbid_stop, penalise_repeats
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, Request
from hired_core.language.stop_strings import StopStrings
from tests.support.checkpoints import EMBEDDED
from tests.support.halves import Halves, picture, slot_backend
from tests.support.settings import reduction

MOST, WORDS = 7, 5
NEW = 16


@st.composite
def slots(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, generated tokens with rubbish behind the real ones, and how many are real."""
    rows = draw(st.integers(1, 4))
    generated = draw(
        st.lists(
            st.lists(st.integers(0, WORDS - 1), min_size=MOST, max_size=MOST),
            min_size=rows,
            max_size=rows,
        )
    )
    counts = draw(st.lists(st.integers(0, MOST), min_size=rows, max_size=rows))
    logits = torch.randn(rows, WORDS, generator=torch.Generator().manual_seed(sum(counts)))
    return logits, torch.tensor(generated), torch.tensor(counts)


def one_by_one(processor: Any, case: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """What transformers makes of each row alone, its tokens at their real length."""
    logits, generated, counts = case
    rows = zip(logits, generated, counts.tolist(), strict=True)
    return torch.cat([processor(ids[None, :n], row[None].clone()) for row, ids, n in rows])


@given(slots(), st.sampled_from([0.7, 1.1, 3.0]))
def test_repeats_are_penalised_as_in_transformers(
    case: tuple[Tensor, Tensor, Tensor], penalty: float
) -> None:
    expected = one_by_one(RepetitionPenaltyLogitsProcessor(penalty), case)
    penalise_repeats(*case, penalty)
    assert torch.equal(case[0], expected)


@given(slots(), st.integers(1, MOST + 1))
def test_ngrams_are_forbidden_as_in_transformers(
    case: tuple[Tensor, Tensor, Tensor], size: int
) -> None:
    expected = one_by_one(NoRepeatNGramLogitsProcessor(size), case)
    forbid_ngrams(*case, size)
    assert torch.equal(case[0], expected)


@given(slots(), st.integers(1, MOST))
def test_stop_tokens_are_forbidden_as_in_transformers(
    case: tuple[Tensor, Tensor, Tensor], least: int
) -> None:
    stop = torch.tensor([1, 4])
    expected = one_by_one(MinNewTokensLengthLogitsProcessor(0, least, stop), case)
    forbid_stop(case[0], case[2], stop, least)
    assert torch.equal(case[0], expected)


@pytest.fixture(scope="module")
def embedded() -> Halves:
    return Halves(EMBEDDED)


@pytest.fixture(scope="module")
def asked(embedded: Halves) -> list[Request]:
    """Of 64 images of uneven sizes, three prompts in turn."""
    images = [picture(60 + 5 * (i % 9), 60 + 7 * (i % 7)) for i in range(64)]
    prompts = ["Describe the image.", "What is in the picture?", "Say it all, word by word."]
    settings = reduction(method="hired", token_budget=0.1)
    return embedded.requests(images, [prompts[i % 3] for i in range(64)], settings, "drop")


@torch.inference_mode()
def generated(halves: Halves, requests: Sequence[Request], **constraints: Any) -> list[list[int]]:
    """By transformers' `generate`, those of one length together; without what it fills shorter
    rows up with. A batch with padding would not do: see `_processors` of the reference."""
    model, stop = halves.language, sorted(halves.language.stop_ids)
    found: dict[int, list[int]] = {}
    for length in sorted({request.num_prompt_tokens for request in requests}):
        mine = [i for i, r in enumerate(requests) if r.num_prompt_tokens == length]
        embeds = torch.stack([model.embed(requests[i]) for i in mine])
        ids = model.decoder.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=stop[0],
            tokenizer=model.tokenizer,
            **constraints,
        ).tolist()
        ends = [next((i for i, t in enumerate(row) if t in stop), NEW) for row in ids]
        found |= {i: row[:end] for i, row, end in zip(mine, ids, ends, strict=True)}
    return [found[i] for i in range(len(requests))]


@pytest.fixture(scope="module")
def plain(embedded: Halves, asked: list[Request]) -> list[list[int]]:
    return generated(embedded, asked)


ASKED: list[dict[str, Any]] = [
    {"repetition_penalty": 1.3},
    {"no_repeat_ngram_size": 2},
    {"min_new_tokens": 12, "stop_strings": ["ow", " and"]},
    {
        "repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
        "min_new_tokens": 14,
        "stop_strings": ["zz", "in"],
    },
]


@pytest.mark.filterwarnings("ignore:Passing `.*` with `inputs_embeds`")
@pytest.mark.parametrize("constraints", ASKED, ids=lambda each: "+".join(each))
def test_texts_are_those_of_generate(
    embedded: Halves,
    asked: list[Request],
    plain: list[list[int]],
    constraints: dict[str, Any],
) -> None:
    expected = generated(embedded, asked, **constraints)
    strings = tuple(constraints.get("stop_strings", ()))
    settings = GenerationSettings(max_new_tokens=NEW, **constraints | {"stop_strings": strings})
    found = slot_backend(embedded.language, asked, settings, num_slots=16).generate(asked)
    assert [each.token_ids for each in found] == expected
    assert sum(a != b for a, b in zip(plain, expected, strict=True)) > 10, "they change texts"
    decode = embedded.language.tokenizer.decode
    for each in found:
        text = decode(each.token_ids, skip_special_tokens=True)
        stopped = [text.find(s) for s in strings if s in text]
        assert each.text == text[: min(stopped)].strip() if stopped else text.strip()
        full = len(each.token_ids) == NEW and not stopped
        assert each.finish_reason == ("length" if full else "stop")


def test_the_reference_says_the_same(embedded: Halves, asked: list[Request]) -> None:
    settings = GenerationSettings(
        max_new_tokens=NEW,
        repetition_penalty=1.2,
        no_repeat_ngram_size=2,
        min_new_tokens=1,
        stop_strings=(" and",),
    )
    some = asked[:12]
    reference = ReferenceBackend(embedded.language, settings, batch_size=5).generate(some)
    assert slot_backend(embedded.language, some, settings).generate(some) == reference


def test_a_string_may_end_within_a_token_and_stops_at_once(embedded: Halves) -> None:
    stop = embedded.language.stop_strings(["red"])
    assert stop is not None and embedded.language.stop_strings([]) is None
    ids = embedded.language.tokenizer("a red circle, a red one", add_special_tokens=False)[
        "input_ids"
    ]
    end = stop.end(ids)
    assert end is not None
    decode = embedded.language.tokenizer.decode
    assert "red" in decode(ids[:end]) and "red" not in decode(ids[: end - 1])
    assert stop.end(ids[: end - 1]) is None and stop.end([]) is None
    assert stop.cut("a red circle") == "a " and stop.cut("a blue one") == "a blue one"


def test_ids_without_a_word_end_nothing(embedded: Halves) -> None:
    """An output layer may be wider than the tokenizer."""
    tokenizer = embedded.language.tokenizer
    (beyond, *dog) = [len(tokenizer) + 5, *tokenizer("dog", add_special_tokens=False)["input_ids"]]
    stop = StopStrings(tokenizer, ["dog"])
    assert stop.end([beyond, beyond]) is None
    assert stop.end([beyond, *dog, beyond]) == 1 + len(dog)


def test_a_slot_is_free_at_once(embedded: Halves, asked: list[Request]) -> None:
    settings = GenerationSettings(max_new_tokens=NEW, stop_strings=("a",), min_new_tokens=NEW)
    backend = slot_backend(embedded.language, asked[:1], settings)
    steps, step = [], backend._step
    backend._step = lambda *arguments: steps.append(1) or step(*arguments)  # type: ignore[func-returns-value]
    (completion,) = backend.generate(asked[:1])
    assert 1 < len(completion.token_ids) < NEW and completion.finish_reason == "stop"
    assert len(steps) == len(completion.token_ids) - 1, "the first comes with the prompt"


def test_a_stop_token_comes_before_a_stop_string(embedded: Halves) -> None:
    model = embedded.language
    stop = model.stop_strings(["red"])
    words = model.tokenizer("a red", add_special_tokens=False)["input_ids"]
    completion: Completion = model.complete([words[0], *model.stop_ids, *words], stop_strings=stop)
    assert completion.token_ids == words[:1]
    whole = model.complete(words, stop_strings=stop, cut_short=True)
    assert (whole.text, whole.finish_reason) == ("a", "stop")


@pytest.mark.parametrize(
    "wrong",
    [
        {"repetition_penalty": 0.0},
        {"no_repeat_ngram_size": -1},
        {"min_new_tokens": 65},
        {"stop_strings": ("a", "")},
    ],
)
def test_what_is_out_of_range_is_told(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}: "):
        replace(GenerationSettings(), **wrong)
