"""Whom a fault costs: the request at fault, those in slots, or all; and that nobody waits on."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from hired_core.backends.slots.admission import GROW_AFTER, LEAST_CHUNK
from hired_core.backends.slots.backend import SlotBackend
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, Request
from tests.support.engine_cases import Case, ask, tokens
from tests.support.halves import slot_backend

PATIENCE_SEC = 30
OUTSIDE = 10**6  # No token has this id.


class Failing:
    """Calls `work`, and raises `error` instead in the calls that `fails` says (0, 1, ...)."""

    def __init__(self, work: Callable[..., Any], error: Exception, fails: Callable[[int], bool]):
        self.work, self.error, self.fails = work, error, fails
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.fails(self.calls - 1):
            raise self.error
        return self.work(*args, **kwargs)


def break_steps(backend: SlotBackend, error: Exception, fails: Callable[[int], bool]) -> Failing:
    failing = Failing(backend._step, error, fails)
    backend._step = failing
    return failing


def break_reading(backend: SlotBackend, error: Exception, fails: Callable[[int], bool]) -> None:
    """The first layer has been read into by then, and holds what means nothing."""
    decoder = backend._reader.decoder
    failing = Failing(decoder.prefill, error, fails)

    def prefill(embeds: Tensor, slot: int, start: int, *rows: Tensor | None) -> Tensor:
        if failing.fails(failing.calls):
            decoder.caches[0].keys[0, slot, :, start:] = 1e4
        found: Tensor = failing(embeds, slot, start, *rows)
        return found

    decoder.prefill = prefill  # type: ignore[method-assign]


def in_threads(*works: Callable[[], Any]) -> list[Future[Any]]:
    """All of them done; a thread that waits for ever fails the test."""
    futures: list[Future[Any]] = [Future() for _ in works]

    def run(work: Callable[[], Any], future: Future[Any]) -> None:
        try:
            future.set_result(work())
        except BaseException as exc:
            future.set_exception(exc)

    for work, future in zip(works, futures, strict=True):
        threading.Thread(target=run, args=(work, future), daemon=True).start()
    for future in futures:
        future.exception(PATIENCE_SEC)
    return futures


def part(case: Case, count: int) -> Case:
    return dataclasses.replace(case, requests=case.requests[:count], expected=case.expected[:count])


def out_of_memory() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def outside_vocabulary(request: Request) -> Request:
    return dataclasses.replace(request, after=[*request.after[:-1], OUTSIDE])


def test_a_prompt_that_cannot_be_read_fails_alone(grouped: Case) -> None:
    case = part(grouped, 24)
    backend = case.backend(num_slots=3)
    bad = [outside_vocabulary(request) for request in case.requests[:8]]
    spoilt, good, more = in_threads(
        lambda: [backend.generate([request]) for request in bad[:1]],
        lambda: tokens(backend, case.requests[:12]),
        lambda: tokens(backend, case.requests[12:]),
    )
    assert isinstance(spoilt.exception(), IndexError)
    assert good.result() + more.result() == case.expected
    for request in bad:
        with pytest.raises(IndexError):
            backend.generate([request, *case.requests[:2]])
    assert tokens(backend, case.requests) == case.expected


def test_a_prompt_that_cannot_be_read_for_any_other_reason_fails_alone(grouped: Case) -> None:
    """A bug ends the call that met it, and no other waits for its slot."""
    case = part(grouped, 8)
    backend = case.backend(num_slots=2)
    break_reading(backend, TypeError("a bug"), lambda call: call == 3)
    first, rest = in_threads(
        lambda: tokens(backend, case.requests[:4]), lambda: tokens(backend, case.requests[4:])
    )
    errors = [future.exception() for future in (first, rest)]
    assert sorted(map(repr, errors)) == ["None", "TypeError('a bug')"]
    for future, expected in ((first, case.expected[:4]), (rest, case.expected[4:])):
        assert future.exception() or future.result() == expected
    assert tokens(backend, case.requests) == case.expected


def test_a_slot_whose_reading_broke_off_holds_no_prompt(grouped: Case) -> None:
    """Its cells are half overwritten: who shares them would read nonsense."""
    first, later = ask(grouped.halves, 3, 20, ["What?", "Describe the image."])
    backend = grouped.backend(num_slots=1)
    fresh = grouped.backend(num_slots=1)
    expected = tokens(fresh, [later])
    tokens(backend, [first])
    stranger = outside_vocabulary(ask(grouped.halves, 5, 12, ["What?"])[0])
    break_reading(backend, RuntimeError("broken off"), lambda call: call == 0)
    with pytest.raises(RuntimeError, match="broken off"):
        backend.generate([dataclasses.replace(stranger, after=first.after)])
    assert tokens(backend, [later]) == expected


def test_a_text_that_cannot_be_decoded_ends_its_call(grouped: Case) -> None:
    case = part(grouped, 8)
    backend = case.backend(num_slots=2)
    complete = Failing(case.model.complete, KeyError("no such token"), lambda call: call == 2)
    backend.model = _Completing(case, complete)  # type: ignore[assignment]
    (future,) = in_threads(lambda: tokens(backend, case.requests))
    assert isinstance(future.exception(), KeyError)
    assert tokens(backend, case.requests) == case.expected


class _Completing:
    """The model of a case, its texts made by `complete`."""

    def __init__(self, case: Case, complete: Callable[..., Completion]) -> None:
        self.complete = complete
        self.embed = case.model.embed
        self.device = case.model.device


@pytest.mark.parametrize("place", ["reading", "step"])
@pytest.mark.parametrize("times", [1, 2])
def test_short_of_memory_for_a_while(grouped: Case, place: str, times: int) -> None:
    """Half the slots, what ran in others anew, and all texts right; later all slots again."""
    case = part(grouped, 120)
    backend, admitted = case.backend(num_slots=8), list[int]()
    breaking = break_reading if place == "reading" else break_steps
    breaking(backend, out_of_memory(), lambda call: 5 <= call < 5 + times)
    watch(backend, admitted, case.requests)
    assert tokens(backend, case.requests) == case.expected
    assert admitted == ([8, 4, 8] if times == 1 else [8, 4, 2, 4, 8])


@pytest.mark.parametrize("place", ["_read_prompt", "_step"])
def test_what_a_call_held_that_ran_out_of_memory_is_free(
    grouped: Case, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the device is told to give back what nobody uses: a traceback would hold on to it."""
    backend, held, gone = grouped.backend(num_slots=2), list[weakref.ref[Tensor]](), list[bool]()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gone.append(held[0]() is None))
    work = getattr(backend, place)

    def failing(*args: Any) -> None:
        if not held:
            large = torch.zeros(3)
            held.append(weakref.ref(large))
            raise out_of_memory()
        work(*args)

    setattr(backend, place, failing)
    assert tokens(backend, grouped.requests[:5]) == grouped.expected[:5]
    assert gone == [True]


def watch(backend: SlotBackend, admitted: list[int], requests: list[Request]) -> None:
    """Notes how many slots are filled, each time it changes; those who wait stay in order."""
    advance = backend._advance
    place = {id(request): index for index, request in enumerate(requests)}

    def noting() -> None:
        advance()
        if not admitted or admitted[-1] != backend._admission.count:
            admitted.append(backend._admission.count)
        busy = [slot.index for slot in backend._slots if slot.ticket is not None]
        assert all(index < backend._admission.count for index in busy)
        queue = [place[id(ticket.request)] for ticket in backend._waiting]
        assert queue == sorted(queue)

    backend._advance = noting  # type: ignore[method-assign]


def test_admission_grows_when_enough_have_ended(grouped: Case) -> None:
    """`GROW_AFTER` for each slot admitted; another shortage begins the count anew."""
    long = next(i for i, ids in enumerate(grouped.expected) if len(ids) == 12)
    backend = grouped.backend(num_slots=4)
    shortages = {1}
    steps = break_steps(backend, out_of_memory(), lambda call: call in shortages)

    def end(count: int) -> int:
        for _ in range(count):
            assert tokens(backend, [grouped.requests[long]]) == [grouped.expected[long]]
        return backend._admission.count

    assert end(2 * GROW_AFTER - 1) == 2
    shortages.add(steps.calls + 1)
    assert end(GROW_AFTER - 1) == 1
    assert end(1) == 2
    assert end(2 * GROW_AFTER - 1) == 2
    assert end(1) == 4


@pytest.mark.parametrize("place", ["reading", "step"])
def test_too_little_memory_for_one_request_alone(grouped: Case, place: str) -> None:
    """It fails, those of other calls do not, and the next call works."""
    case = part(grouped, 13)
    *others, greedy = case.requests
    backend = case.backend(num_slots=4)
    device = ShortOf(backend, greedy, place)
    alone, rest = in_threads(lambda: backend.generate([greedy]), lambda: tokens(backend, others))
    assert isinstance(alone.exception(), torch.OutOfMemoryError)
    assert rest.result() == case.expected[:-1]
    device.short = False
    assert tokens(backend, [greedy]) == case.expected[-1:]


class ShortOf:
    """A device with too little memory for one request, whatever runs beside it."""

    def __init__(self, backend: SlotBackend, greedy: Request, place: str) -> None:
        self.short = True
        read, step = backend._read_prompt, backend._step

        def reading(slot: Any, request: Request) -> None:
            if self.short and request is greedy:
                raise out_of_memory()
            read(slot, request)

        def stepping(num_slots: int, longest: Sequence[int]) -> None:
            if self.short and any(t.request is greedy for _, t in backend._busy()):
                raise out_of_memory()
            step(num_slots, longest)

        if place == "reading":
            backend._read_prompt = reading  # type: ignore[method-assign]
        else:
            backend._step = stepping


def test_what_breaks_a_step_costs_those_in_slots(grouped: Case) -> None:
    """Five at a time in a slot each; the others are generated as if nothing had been."""
    full = [i for i, ids in enumerate(grouped.expected) if len(ids) == 12][:6]
    backend = grouped.backend(num_slots=3)
    break_steps(backend, RuntimeError("a kernel"), lambda call: call == 4)
    calls = [lambda i=i: tokens(backend, [grouped.requests[i]]) for i in full]
    queued = threading.Barrier(len(calls))
    futures = in_threads(
        *(lambda call=call: (queued.wait(PATIENCE_SEC), call())[1] for call in calls)
    )
    failed = [future for future in futures if future.exception() is not None]
    assert 1 <= len(failed) <= 3
    assert all(isinstance(future.exception(), RuntimeError) for future in failed)
    for future, index in zip(futures, full, strict=True):
        assert future in failed or future.result() == [grouped.expected[index]]
    assert tokens(backend, grouped.requests[:20]) == grouped.expected[:20]


@pytest.mark.parametrize("place", ["reading", "step"])
def test_a_lost_device_fails_those_who_wait_as_well(grouped: Case, place: str) -> None:
    case = part(grouped, 30)
    backend = case.backend(num_slots=3)
    lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    (break_reading if place == "reading" else break_steps)(backend, lost, lambda call: call >= 7)
    calls = [case.requests[start : start + 5] for start in range(0, 30, 5)]
    futures = in_threads(*(lambda call=call: tokens(backend, call) for call in calls))
    ends = [future.exception() for future in futures]
    assert ends.count(None) <= 1 and all(e is lost for e in ends if e is not None)
    assert not backend._waiting and not any(slot.ticket for slot in backend._slots)


def test_a_lost_device_may_refuse_everything(grouped: Case) -> None:
    """Not even a slot can be marked as free: who waits is told all the same."""
    case = part(grouped, 10)
    backend = case.backend(num_slots=2)
    lost = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    break_steps(backend, lost, lambda call: call >= 3)
    backend._state.end = Failing(backend._state.end, lost, lambda call: backend._step.calls > 3)  # type: ignore
    futures = in_threads(
        lambda: tokens(backend, case.requests[:5]), lambda: tokens(backend, case.requests[5:])
    )
    assert [future.exception() for future in futures] == [lost, lost]
    assert not backend._waiting


def test_who_asks_while_the_device_is_being_lost_is_told(grouped: Case) -> None:
    """The request arrives after those who wait were counted, and before they are gone."""
    backend = grouped.backend(num_slots=1)
    lost = torch.AcceleratorError("CUDA error: unspecified launch failure")
    break_steps(backend, lost, lambda call: call == 1)
    failing, arrived, end = (
        threading.Event(),
        backend._queue._executor._work_queue,
        backend._state.end,
    )

    def ending(slot: int) -> None:
        deadline = time.monotonic() + (0 if failing.is_set() else PATIENCE_SEC)
        failing.set()
        while deadline > time.monotonic() and not (backend._waiting or arrived.qsize()):
            pass
        end(slot)

    def late() -> list[list[int]]:
        assert failing.wait(PATIENCE_SEC)
        return tokens(backend, grouped.requests[1:2])

    backend._state.end = ending  # type: ignore[method-assign]
    full = next(i for i, ids in enumerate(grouped.expected) if len(ids) == 12)
    first, second = in_threads(lambda: tokens(backend, [grouped.requests[full]]), late)
    assert first.exception() is lost
    assert second.exception() is lost or second.result() == grouped.expected[1:2]


def test_what_a_broken_off_call_left_behind_is_no_trouble(grouped: Case) -> None:
    """A thread that is interrupted leaves its requests; the next call takes them along."""
    case = part(grouped, 30)
    backend = case.backend(num_slots=3)
    run, interrupted = backend._queue.run, KeyboardInterrupt()
    backend._queue.run = Failing(run, interrupted, lambda call: call == 9)  # type: ignore
    with pytest.raises(KeyboardInterrupt):
        backend.generate(case.requests[:15])
    assert any(slot.ticket for slot in backend._slots) and backend._waiting
    assert tokens(backend, case.requests[15:]) == case.expected[15:]


def test_nothing_of_a_request_that_was_not_a_number_stays(grouped: Case) -> None:
    """A masked cell is read with weight 0, and 0 times NaN is NaN."""
    full = [i for i, ids in enumerate(grouped.expected) if len(ids) == 12]
    short, *_, long = sorted(full, key=lambda i: grouped.requests[i].num_prompt_tokens)
    features = torch.full_like(grouped.requests[long].features, torch.nan)
    spoilt = dataclasses.replace(grouped.requests[long], features=features)
    backend = grouped.backend(num_slots=2)
    with pytest.raises(RuntimeError, match="not a number"):
        backend.generate([spoilt, spoilt])
    chosen = [short, long, short]
    found = tokens(backend, [grouped.requests[i] for i in chosen])
    assert found == [grouped.expected[i] for i in chosen]


def test_calls_from_more_threads_than_slots_all_end(grouped: Case) -> None:
    backend = grouped.backend(num_slots=2)
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda r: tokens(backend, [r])[0], grouped.requests[:64]))
    assert found == grouped.expected[:64]


def test_a_long_prompt_is_read_in_smaller_pieces_before_slots_are_given_up(grouped: Case) -> None:
    """Down to `LEAST_CHUNK`; the texts are right, and later prompts are read whole again."""
    halves = grouped.halves
    asked = [ask(halves, seed, 9, ["What?"])[0] for seed in (0, 1)]
    visual = torch.arange(4 * LEAST_CHUNK + 9 - asked[0].num_prompt_tokens) % 9
    long = [dataclasses.replace(one, sequence=visual.clone()) for one in asked]
    settings = GenerationSettings(max_new_tokens=4)
    backend = slot_backend(halves.language, long, settings, num_slots=2)
    expected = tokens(backend, long)
    backend.forget()
    chunks, reader, read = list[int](), backend._reader, backend._reader.read

    def short(slot: Any, slots: Any, request: Request) -> Tensor:
        chunks.append(reader.decoder.chunk)
        if reader.decoder.chunk > LEAST_CHUNK:
            raise out_of_memory()
        return read(slot, slots, request)

    reader.read = short  # type: ignore[method-assign]
    assert tokens(backend, long) == expected
    assert chunks == [4096, 2 * LEAST_CHUNK, LEAST_CHUNK, LEAST_CHUNK]
    assert backend._admission.count == 2
    reader.read = read  # type: ignore[method-assign]
    for _ in range(2 * GROW_AFTER):
        tokens(backend, long[:1])
    assert backend._admission.chunk == 2 * LEAST_CHUNK
