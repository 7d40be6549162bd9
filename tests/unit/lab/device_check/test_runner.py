"""A check that is cut short, or goes wrong, still tells what it knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.device_check.bench import REHEARSAL, Bench, Skipped
from lab.device_check.runner import Runner, Step


class Clock:
    def __init__(self) -> None:
        self.sec = 0.0

    def __call__(self) -> float:
        return self.sec


def runner(output: Path, clock: Clock, lines: list[str]) -> Runner:
    bench = Bench(device=torch.device("cpu"), sizes=REHEARSAL)
    return Runner(bench, output, deadline_sec=100, log=lines.append, clock=clock)


def good(_: Bench) -> dict[str, Any]:
    return {"checks": {"two is two": True}, "summary": "fine", "figure": 2}


def wrong(_: Bench) -> dict[str, Any]:
    return {"checks": {"two is two": True, "two is three": False}, "figure": 2}


def broken(_: Bench) -> dict[str, Any]:
    raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


def not_here(_: Bench) -> dict[str, Any]:
    raise Skipped("needs a GPU")


def test_no_step_stops_the_others_and_each_says_how_it_went(tmp_path: Path) -> None:
    output, lines = tmp_path / "deep" / "report.json", list[str]()
    checked = runner(output, Clock(), lines)
    works = {"a": good, "b": broken, "c": wrong, "d": not_here, "e": good}
    report = checked.run([Step(name=n, work=w, needs_sec=1) for n, w in works.items()])
    status = {name: entry["status"] for name, entry in report["steps"].items()}
    assert status == {"a": "passed", "b": "failed", "c": "failed", "d": "skipped", "e": "passed"}
    assert checked.failed == ["b", "c"]
    steps = report["steps"]
    assert "illegal memory access" in steps["b"]["why"] and "broken" in steps["b"]["traceback"]
    assert steps["c"]["why"] == "does not hold: two is three" and steps["c"]["figure"] == 2
    assert json.loads(output.read_text()) == report
    assert [line.split()[0] for line in lines] == list(status.values())


def test_what_is_known_is_on_disk_when_the_next_step_begins(tmp_path: Path) -> None:
    output, seen = tmp_path / "report.json", list[list[str]]()

    def look(_: Bench) -> dict[str, Any]:
        known = json.loads(output.read_text())["steps"] if output.is_file() else {}
        seen.append(list(known))
        return {}

    steps = [Step(name=name, work=look, needs_sec=0) for name in "abc"]
    runner(output, Clock(), []).run(steps)
    assert seen == [[], ["a"], ["a", "b"]]


def test_a_step_that_no_longer_fits_is_skipped_and_a_shorter_one_is_not(tmp_path: Path) -> None:
    clock = Clock()

    def long(_: Bench) -> dict[str, Any]:
        clock.sec += 70
        return {}

    steps = [("long", long, 70), ("again", long, 70), ("short", good, 30)]
    made = [Step(name=name, work=work, needs_sec=sec) for name, work, sec in steps]
    report = runner(tmp_path / "report.json", clock, []).run(made)
    assert [each["status"] for each in report["steps"].values()] == ["passed", "skipped", "passed"]
    assert report["steps"]["again"]["why"] == "30 s are left, about 70 needed"


def test_what_a_step_found_is_there_for_later_ones(tmp_path: Path) -> None:
    def later(bench: Bench) -> dict[str, Any]:
        return {"twice": 2 * bench.found["a"]["figure"]}

    steps = [("a", good, 0), ("b", later, 0)]
    made = [Step(name=name, work=work, needs_sec=sec) for name, work, sec in steps]
    report = runner(tmp_path / "report.json", Clock(), []).run(made)
    assert report["steps"]["b"]["twice"] == 4


def test_an_interrupt_is_no_failed_step(tmp_path: Path) -> None:
    def interrupted(_: Bench) -> dict[str, Any]:
        raise KeyboardInterrupt

    steps = [Step(name="a", work=good, needs_sec=0), Step(name="b", work=interrupted, needs_sec=0)]
    with pytest.raises(KeyboardInterrupt):
        runner(tmp_path / "report.json", Clock(), []).run(steps)
    assert list(json.loads((tmp_path / "report.json").read_text())["steps"]) == ["a"]
