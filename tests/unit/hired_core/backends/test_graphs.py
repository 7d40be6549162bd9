"""When graphs of the decode step are captured and which is replayed; of CUDA, names alone.

What a graph does on a device, the tests with the mark `gpu` see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch

from hired_core.backends.slots import graphs
from hired_core.backends.slots.sampling import SlotState
from hired_core.language.generation import GenerationSettings


class Graph:
    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def replay(self) -> None:
        for work in self.work:
            work()


class Device:
    """Records instead of running while a graph is captured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams, self.captured_on = list[Any](), list[Any]()
        self.capturing: Graph | None = None
        for name, value in {
            "Stream": self.stream,
            "CUDAGraph": Graph,
            "graph": self.graph,
            "stream": lambda _: nullcontext(),
            "current_stream": mock.Mock,
            "graph_pool_handle": lambda: "pool",
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def stream(self) -> Any:
        self.streams.append(mock.Mock())
        return self.streams[-1]

    @contextmanager
    def graph(self, graph: Graph, *, pool: str, stream: Any, capture_error_mode: str) -> Iterator:
        assert (pool, capture_error_mode) == ("pool", "thread_local")
        self.captured_on.append(stream)
        self.capturing = graph
        yield
        self.capturing = None


class Steps:
    """A step that changes what a step changes, and notes over how many slots it ran."""

    def __init__(self, device: Device, state: SlotState, short_from: int = 99) -> None:
        self.device, self.state, self.short_from = device, state, short_from
        self.ran = list[int]()

    def __call__(self, num_slots: int, longest: Any) -> None:
        assert longest == [32]
        if num_slots >= self.short_from:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        if self.device.capturing is not None:
            self.device.capturing.work.append(lambda: self.run(num_slots))
        else:
            self.run(num_slots)

    def run(self, num_slots: int) -> None:
        self.ran.append(num_slots)
        self.state.counts[:num_slots] += 1


def make(steps: Steps) -> graphs._GraphedStep:
    cache = SimpleNamespace(num_slots=6, max_length=32)
    return graphs._GraphedStep(steps, SimpleNamespace(caches=[cache]), steps.state)  # type: ignore


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


@pytest.fixture
def state() -> SlotState:
    settings = GenerationSettings(max_new_tokens=4)
    return SlotState(num_slots=6, settings=settings, stop_ids=[2], device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("num_slots", "expected"),
    [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (8, [1, 2, 4, 8]), (9, [1, 2, 4, 8, 9])],
)
def test_buckets_by_hand(num_slots: int, expected: list[int]) -> None:
    assert graphs.buckets(num_slots) == expected


def test_all_are_captured_at_once_on_one_stream_and_leave_no_trace(
    device: Device, state: SlotState
) -> None:
    steps = Steps(device, state)
    step = make(steps)
    assert steps.ran == [6, 4, 2, 1]  # Warming up; the largest first.
    assert len(device.streams) == 1 and device.captured_on == device.streams * 4
    assert state.counts.tolist() == [0] * 6
    steps.ran.clear()
    for num_slots in (1, 2, 3, 4, 5, 6):
        step(num_slots, [7])
    assert steps.ran == [1, 2, 4, 4, 6, 6]
    assert len(device.captured_on) == 4


def test_a_bucket_that_memory_is_too_short_for_is_launched_as_it_is(
    device: Device, state: SlotState
) -> None:
    steps = Steps(device, state, short_from=4)
    step = make(steps)
    assert len(device.captured_on) == 2
    assert state.counts.tolist() == [0] * 6
    with pytest.raises(torch.OutOfMemoryError):  # As without graphs: the engine makes room.
        step(3, [7])
    steps.short_from = 99
    steps.ran.clear()
    step(3, [7])
    step(2, [7])
    assert steps.ran == [4, 2]
