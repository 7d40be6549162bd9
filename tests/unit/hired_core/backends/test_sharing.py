"""What requests have in common is read once, and shared cells are as good as read ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hired_core.backends.slots.backend import SlotBackend
from hired_core.backends.slots.tickets import shared_positions
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from tests.support.engine_cases import QUESTIONS, Case, alone, apart, ask, tokens
from tests.support.halves import slot_backend

NEW = 6


class Counting:
    """A decoder that notes what it is given to read: (slot, first position, positions)."""

    def __init__(self, backend: SlotBackend) -> None:
        self._inner = backend._reader.decoder
        self.caches = self._inner.caches
        self.reads: list[tuple[int, int, int]] = []
        backend._reader.decoder = self  # type: ignore[assignment]

    def prefill(self, embeds: Tensor, slot: int, start: int, *rows: Tensor | None) -> Tensor:
        self.reads.append((slot, start, embeds.shape[0]))
        return self._inner.prefill(embeds, slot, start, *rows)

    @property
    def starts(self) -> list[int]:
        return [start for _, start, _ in self.reads]

    @property
    def positions(self) -> int:
        return sum(count for _, _, count in self.reads)


def counted(
    case: Case, requests: Sequence[Request], num_slots: int
) -> tuple[SlotBackend, Counting]:
    settings = GenerationSettings(max_new_tokens=NEW)
    backend = slot_backend(case.model, requests, settings, num_slots=num_slots)
    return backend, Counting(backend)


def expected(case: Case, requests: Sequence[Request]) -> list[list[int]]:
    return [alone(case.model, request, NEW) for request in requests]


@pytest.mark.parametrize("num_slots", [1, 2, 5, 8])
def test_five_questions_read_their_image_once(grouped: Case, num_slots: int) -> None:
    """In five slots at once, one after the other in one, and refilled in two."""
    requests = ask(grouped.halves, 3, 40, QUESTIONS[:5])
    backend, counting = counted(grouped, requests, num_slots)
    assert tokens(backend, requests) == expected(grouped, requests)
    first, *others = counting.reads
    image_ends = len(requests[0].before) + 40
    assert first[1:] == (0, requests[0].num_prompt_tokens)
    for (_, start, count), request in zip(others, requests[1:], strict=True):
        assert start >= image_ends
        assert start + count == request.num_prompt_tokens
    # With distinct tensors each image is read, the words before it still once.
    strangers = [apart(request) for request in requests]
    backend, counting = counted(grouped, strangers, num_slots)
    assert tokens(backend, strangers) == expected(grouped, requests)
    assert counting.starts == [0, *[len(requests[0].before)] * 4]


def test_words_before_the_image_are_shared_up_to_their_first_difference(grouped: Case) -> None:
    """Nothing behind the difference: the image is the same, but lies elsewhere."""
    (plain,) = ask(grouped.halves, 3, 20, ["What?"])
    first = replace(plain, before=[1, 40, 41, 42, 43])
    second = replace(plain, before=[1, 40, 41, 50])
    third = replace(plain, before=[1, 40, 41, 42])
    requests = [first, second, third]
    backend, counting = counted(grouped, requests, 2)
    assert tokens(backend, requests) == expected(grouped, requests)
    assert counting.starts == [0, 3, 4]


def test_the_same_question_again_reads_one_position(grouped: Case) -> None:
    (request,) = ask(grouped.halves, 3, 20, ["What?"])
    backend, counting = counted(grouped, [request], 2)
    assert tokens(backend, [request] * 3) == expected(grouped, [request]) * 3
    assert [count for _, _, count in counting.reads[1:]] == [1, 1]


def test_another_image_in_between_takes_the_slot_and_its_cells(grouped: Case) -> None:
    first, later = ask(grouped.halves, 3, 40, QUESTIONS[:2])
    (stranger,) = ask(grouped.halves, 5, 12, QUESTIONS[2:3])
    requests = [first, stranger, later]
    backend, counting = counted(grouped, requests, 1)
    assert tokens(backend, requests) == expected(grouped, requests)
    before = len(first.before)
    assert counting.starts == [0, before, before]


def test_the_free_slot_that_holds_the_image_is_taken_before_others(grouped: Case) -> None:
    """Nothing is copied then; both were busy at once, and the image lies in the second."""
    first, later = ask(grouped.halves, 3, 40, QUESTIONS[:2])
    (stranger,) = ask(grouped.halves, 5, 12, QUESTIONS[2:3])
    requests = [stranger, first, later]
    backend, counting = counted(grouped, requests, 3)
    assert tokens(backend, requests[:2]) == expected(grouped, requests[:2])
    assert tokens(backend, [later]) == expected(grouped, [later])
    assert [slot for slot, _, _ in counting.reads] == [0, 1, 1]
    assert counting.starts[2] >= len(first.before) + 40


def test_an_idle_slot_below_a_busy_one_keeps_its_prompt(grouped: Case) -> None:
    """It is computed along for many steps, and shares its image after that."""
    model, long = grouped.model, 60
    pairs = list(zip(grouped.requests, grouped.expected, strict=True))
    short = next(request for request, ids in pairs if len(ids) == 1)
    endless = next(r for r, ids in pairs if len(ids) == 12 == len(alone(model, r, long)) - 48)
    settings = GenerationSettings(max_new_tokens=long)
    backend = slot_backend(model, [short, endless], settings, num_slots=2)
    counting, step, steps = Counting(backend), backend._step, list[int]()

    def noting(num_slots: int, longest: Sequence[int]) -> None:
        steps.append(num_slots)
        step(num_slots, longest)

    backend._step = noting
    assert [len(ids) for ids in tokens(backend, [short, endless])] == [1, long]
    assert steps == [2] * (long - 1), "the first slot was not computed along"
    later = replace(short, after=[*short.after[:-1], 100])
    assert tokens(backend, [later]) == [alone(model, later, long)]
    assert counting.reads[-1] == (0, short.num_prompt_tokens - 1, 1)


def test_copied_cells_are_those_that_reading_gives(grouped: Case) -> None:
    first, later = ask(grouped.halves, 3, 40, QUESTIONS[:2])
    copied, _ = counted(grouped, [first, later], 2)
    read, _ = counted(grouped, [first, later], 1)
    copied.generate([first, later])
    read.generate([apart(later)])
    end = later.num_prompt_tokens
    for name in ("keys", "values"):
        mine = getattr(copied._reader.decoder.caches[0], name)[:, 1, :, :end]
        theirs = getattr(read._reader.decoder.caches[0], name)[:, 0, :, :end]
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
        assert mine.abs().amax(dim=(0, 1, 3)).min() > 0


REQUEST = Request(
    features=torch.zeros(4, 8), sequence=torch.arange(4), before=[1, 2, 3], after=[7, 8]
)


@pytest.mark.parametrize(
    ("before", "after", "same_image", "shared"),
    [
        ([1, 2, 3], [7, 8], True, 8),  # 9 in all: one is left to read.
        ([1, 2, 3], [7, 8], False, 3),
        ([1, 2, 3], [7, 8, 9], True, 9),
        ([1, 2, 3], [7], True, 7),
        ([1, 2, 3], [], True, 6),
        ([1, 2, 3], [9, 8], True, 7),
        ([1, 2], [7, 8], True, 2),  # The image lies elsewhere.
        ([1, 2, 3, 4], [7, 8], True, 3),
        ([1, 5, 3], [7, 8], True, 1),
        ([5, 2, 3], [7, 8], True, 0),
        ([], [7, 8], True, 0),
    ],
)
def test_shared_positions(
    before: list[int], after: list[int], same_image: bool, shared: int
) -> None:
    features = REQUEST.features if same_image else REQUEST.features.clone()
    other = Request(features=features, sequence=REQUEST.sequence, before=before, after=after)
    assert shared_positions(REQUEST, other) == shared
    assert shared_positions(None, other) == 0


def test_an_image_in_another_sequence_is_another() -> None:
    other = Request(
        features=REQUEST.features, sequence=REQUEST.sequence.clone(), before=[1, 2, 3], after=[7, 8]
    )
    assert shared_positions(REQUEST, other) == 3
