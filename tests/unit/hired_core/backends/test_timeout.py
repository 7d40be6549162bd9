"""A clock for each request: who shares a batch with a slow one loses nothing."""

from __future__ import annotations

from functools import cache

import pytest

from hired_core.backends.reference import ReferenceBackend
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, Request
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

NEW = 12
SHORT, LONG = "What does the sign say?", "Describe the image."


@cache
def halves() -> Halves:
    return Halves("embedded")


@cache
def requests() -> tuple[Request, ...]:
    settings = reduction(method="hired", token_budget=0.1)
    side = halves().spec.partition_size
    images, prompts = [picture(side, 2 * side)] * 3, [LONG, SHORT, LONG]
    return tuple(halves().requests(images, prompts, settings, "none"))


class Clock:
    """Shows these times, look by look, and the last one from then on."""

    def __init__(self, *times: float) -> None:
        self.times = list(times)

    def __call__(self) -> float:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


def generate(
    clock: Clock, generation_timeout_sec: float | None, batch_size: int = 8
) -> list[Completion]:
    settings = GenerationSettings(max_new_tokens=NEW, generation_timeout_sec=generation_timeout_sec)
    backend = ReferenceBackend(halves().language, settings, batch_size=batch_size, clock=clock)
    return backend.generate(requests())


@cache
def untimed() -> list[Completion]:
    found = generate(Clock(0), None)
    lengths = [len(completion.token_ids) for completion in found]
    assert lengths[1] + 1 < lengths[0] == lengths[2], "the prompts no longer differ in length"
    assert found[1].finish_reason == "stop"
    return found


def test_without_a_limit_time_does_not_matter() -> None:
    assert generate(Clock(0, 1e9), None) == untimed()


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    assert generate(Clock(0, 10.0), 10.0) == untimed()


@pytest.mark.parametrize("batch_size", [2, 8])
def test_requests_of_a_batch_that_ran_out_start_anew_alone(batch_size: int) -> None:
    """The clock leaps after the second token of the first batch, and stands still from then on."""
    assert generate(Clock(0, 0, 11.0), 10.0, batch_size) == untimed()


def test_a_request_that_is_slow_on_its_own_ends_with_timeout() -> None:
    """A second a token: the short text ends in time, also in the batch that runs out."""
    enough = len(untimed()[1].token_ids) + 1
    found = generate(Clock(*range(100)), enough + 0.5)
    assert [c.finish_reason for c in found] == ["timeout", "stop", "timeout"]
    assert found[1] == untimed()[1]
    assert found[0].token_ids == untimed()[0].token_ids[: enough + 1]


def test_the_last_token_that_was_allowed_is_no_timeout() -> None:
    seconds = Clock(*range(100))
    found = generate(seconds, NEW - 0.5, batch_size=1)
    assert found[0] == untimed()[0]
    assert found[0].finish_reason == "length"
