"""What the engine asks of a GPU in its steady state, on a device that is only looked on at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hired_core.backends.slots.sampling import SlotState
from tests.support.device_trace import CUDA, Seen, device_trace
from tests.support.traced_engine import fastv, trace_engine

RESULTS = Path(__file__).parents[4] / "results"
LOOK = ["tolist in sampling.__init__"]


@pytest.fixture(scope="module")
def two_layers() -> dict[str, Any]:
    return trace_engine(2)


@pytest.fixture(scope="module")
def three_layers() -> dict[str, Any]:
    return trace_engine(3)


def by_layer(name: str, two: dict[str, Any], three: dict[str, Any]) -> tuple[int, int]:
    """(kernels of a layer, kernels that are there once)."""
    layer = three[name].num_kernels - two[name].num_kernels
    return layer, two[name].num_kernels - 2 * layer


def test_a_step_waits_for_nothing_and_nothing_travels(two_layers: dict[str, Any]) -> None:
    step = two_layers["step"]
    assert (step.waits, step.uploads, step.downloads) == ([], 0, 0)


def test_ends_are_looked_at_once(two_layers: dict[str, Any]) -> None:
    assert two_layers["step and look"].waits == LOOK


def test_a_prompt_is_waited_for_once(two_layers: dict[str, Any]) -> None:
    """For its first token: it may be the last. What it is made of comes from pinned memory."""
    prompt = two_layers["prompts"]
    assert prompt.waits == LOOK
    assert prompt.uploads == 3  # Its features, its numbers, and the state of its slot.


def test_kernels_are_no_more_than_they_were(
    two_layers: dict[str, Any], three_layers: dict[str, Any]
) -> None:
    """Exact: who launches more, or fewer, says so here and in docs/performance.md."""
    stored = json.loads((RESULTS / "device-trace.json").read_text())["now"]
    for name, expected in {"step": (26, 25), "prompts": (27, 34)}.items():
        assert by_layer(name, two_layers, three_layers) == expected
        assert expected == (stored[name]["kernels_by_layer"], stored[name]["kernels_fixed"])


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.8, "top_p": 0.9},
        {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 4},
    ],
    ids=["sampling", "penalties"],
)
def test_choosing_otherwise_waits_no_more(settings: dict[str, Any]) -> None:
    found = trace_engine(1, **settings)
    assert found["step"].waits == []
    assert found["prompts"].waits == found["step and look"].waits == LOOK


def test_dropping_rows_between_layers_waits_no_more() -> None:
    found = trace_engine(3, schedule=fastv(3))
    assert found["step"].waits == []
    assert found["prompts"].waits == LOOK


WAITS: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "a number": (lambda x: x[0].item(), "item"),
    "a truth": (lambda x: bool(x.any()), "item"),
    "a list": (lambda x: x.tolist(), "tolist"),
    "a copy to the host": (lambda x: x.cpu(), "download"),
    "a number written": (lambda x: x.__setitem__(0, 3), "upload"),
    "numbers written": (lambda x: x.__setitem__(x.clone(), 3), "upload"),
    "a list made there": (lambda x: torch.tensor([1, 2], device=x.device), "upload"),
    "pageable memory": (lambda x: torch.ones(3).to(x.device, non_blocking=True), "upload"),
    "pinned, but blocking": (lambda x: torch.ones(3).pin_memory().to(x.device), "upload"),
    "the whole device": (lambda x: torch.cuda.synchronize(x.device), "synchronize"),
}


@pytest.mark.parametrize("name", WAITS)
def test_the_trace_sees_a_wait(name: str) -> None:
    work, why = WAITS[name]
    with device_trace() as trace:
        numbers = torch.zeros(4, dtype=torch.long, device=CUDA)
        seen = trace.begin()
        work(numbers)
    assert seen.waits == [f"{why} in no code of ours"]


@pytest.mark.parametrize("work", [torch.nonzero, lambda x: x[x > 0]], ids=["nonzero", "mask"])
def test_what_gives_as_many_as_the_device_knows_is_seen(work: Callable[[Tensor], object]) -> None:
    with device_trace() as trace:
        numbers = torch.zeros(4, device=CUDA)
        seen = trace.begin()
        with pytest.raises(Exception, match=r"nonzero|index"):
            work(numbers)
    assert seen.waits == ["nonzero in no code of ours"]


def test_what_nobody_waits_for_is_told_apart() -> None:
    with device_trace() as trace:
        numbers = torch.zeros(4, device=CUDA)
        seen = trace.begin()
        numbers[1:].add_(1)
        numbers.copy_(torch.ones(4).pin_memory(), non_blocking=True)
        host = numbers.to("cpu", non_blocking=True)
    assert seen == Seen(kernels=seen.kernels, uploads=1, downloads=1)
    assert dict(seen.kernels) == {"add_": 1} and host.device.type == "cpu"


def test_a_wait_that_comes_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a slot was once begun: number by number."""
    begin = SlotState.begin

    def as_before(self: SlotState, slot: int, *args: Any, **more: Any) -> None:
        begin(self, slot, *args, **more)
        self.running[slot] = 1

    monkeypatch.setattr(SlotState, "begin", as_before)
    assert len(trace_engine(1)["prompts"].waits) == 2
