"""Turns, ratios and what a benchmark run leaves behind."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch

from lab.benchmark.contestants.answers import Answer
from lab.benchmark.measurements.contest import Measurement, Results, Turn
from lab.benchmark.measurements.summary import percentile, summarise
from lab.benchmark.tables import contest_table


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Paced:
    """Takes so many seconds for each image, the next figure in each turn."""

    slots = 4

    def __init__(self, clock: Clock, log: list[str], name: str, *seconds: float) -> None:
        self.clock, self.log, self.name, self.seconds = clock, log, name, list(seconds)
        self.calls = 0

    def open(self) -> None:
        self.log.append(f"open {self.name}")

    def close(self) -> None:
        self.log.append(f"close {self.name}")

    def __call__(self, images: Sequence[bytes]) -> list[Answer]:
        self.log.append(f"{self.name} {len(images)}")
        # The warm-up takes no time that counts.
        seconds = self.seconds[self.calls - 1] if self.calls else 0.0
        self.calls += 1
        self.clock.now += seconds * len(images)
        return [answer(i) for i in range(len(images))]


class Greedy(Paced):
    """Runs out of memory once it is warm."""

    def __call__(self, images: Sequence[bytes]) -> list[Answer]:
        if self.calls:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
        return super().__call__(images)


def answer(index: int) -> Answer:
    return Answer(
        token_ids=[1, 2, 3],
        text="",
        ttft_sec=float(index),
        prepare_sec=1.0,
        vision_sec=2.0,
        prefill_sec=3.0,
        decode_sec=4.0,
    )


def measurement(log: list[str], *, repeats: Sequence[float] = (2.0, 4.0, 1.0)) -> Measurement:
    clock = Clock()
    contestants = {
        "base": Paced(clock, log, "base", *repeats),
        "other": Paced(clock, log, "other", 1.0, 4.0, 0.1),
    }
    return Measurement(contestants, [b"x"] * 5, warm_up=2, log=lambda line: None, clock=clock)


def test_contestants_take_turns_after_a_warm_up_each() -> None:
    log: list[str] = []
    measurement(log).run(2)
    first = ["open base", "base 2", "base 5", "open other", "other 2", "other 5"]
    assert log[:8] == [*first, "base 5", "other 5"]
    assert sorted(log[8:]) == ["close base", "close other"]


def test_ratios_are_taken_within_a_repeat() -> None:
    summary = summarise(measurement([]).run(3))
    assert summary["base"]["images_per_sec"] == {"median": 0.5, "min": 0.25, "max": 1.0}
    assert summary["base"]["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0}
    ratio = summary["other"]["ratio"]
    assert (ratio["median"], ratio["min"]) == (2.0, 1.0)
    assert ratio["max"] == pytest.approx(10.0)
    assert summary["other"]["tokens_per_sec"]["median"] == pytest.approx(3.0)
    assert summary["base"]["ttft_p50_sec"] == 2.0
    assert summary["base"]["ttft_p95_sec"] == 4.0
    assert summary["base"]["sec_per_image"]["decode_sec"] == 4.0


def test_percentiles_are_of_nearest_rank() -> None:
    values = [float(i) for i in range(1, 21)]
    assert [percentile(values, p) for p in (5, 50, 95, 100)] == [1, 10, 19, 20]


def test_running_out_of_memory_is_a_result() -> None:
    log: list[str] = []
    clock = Clock()
    contestants = {
        "base": Paced(clock, log, "base", 1.0, 1.0),
        "greedy": Greedy(clock, log, "greedy"),
    }
    run = Measurement(contestants, [b"x"] * 3, log=lambda line: None, clock=clock)
    results = run.run(2)
    assert [sorted(repeat) for repeat in results.repeats] == [["base"], ["base"]]
    assert results.failed["greedy"]["reason"] == "out of memory"
    assert "9 GiB" in results.failed["greedy"]["detail"]
    assert log.count("greedy 3") == 1, "tried once more"
    part = results.to_json() | {"summary": summarise(results)}
    text = contest_table("t", part).text()
    assert "out of memory" in text and "greedy" in text


def test_every_repeat_is_saved_and_a_run_goes_on_from_there() -> None:
    saved: list[Results] = []
    run = measurement([])
    run._save = lambda results: saved.append(copy.deepcopy(results))
    run.run(2)
    assert [len(results.repeats) for results in saved] == [1, 2]
    log: list[str] = []
    again = measurement(log).run(3, Results.from_json(saved[-1].to_json()))
    assert again.repeats[:2] == saved[-1].repeats
    assert log.count("base 5") == 1


def test_a_turn_adds_up_its_answers() -> None:
    turn = Turn.of([answer(0), answer(1)], 8.0, slots=4)
    assert (turn.num_images, turn.output_tokens, turn.slots) == (2, 6, 4)
    assert turn.phases == {
        "prepare_sec": 2.0,
        "vision_sec": 4.0,
        "prefill_sec": 6.0,
        "decode_sec": 8.0,
    }
    assert turn.ttft_sec == [0.0, 1.0]
