"""CPU seconds of an image, by how weights are stored: for machines that other work shares.

    python -m tests.cpu_seconds --repeats 3 --output results/cpu-seconds-44m.json

One thread, contestants in turns, the clock of the process alone: a neighbour that takes the core
costs no second of it, though caches and clock rates are still shared. Ratios are taken within a
repeat. "plain" is float32 as torch multiplies it by itself, "float32" as oneDNN has it reordered.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hired_core import onednn
from hired_core.choices import Quantization, WeightFormat
from lab.benchmark.contestants.answers import PHASES, Contestant
from lab.benchmark.contestants.registry import Entry
from lab.benchmark.contestants.subject import Setting, Subject, prepared
from lab.benchmark.images import make_images
from lab.environment import environment


@dataclass(frozen=True, kw_only=True)
class Case:
    """A contestant, how its weights are stored, and how many images it is shown in a turn."""

    entry: Entry
    weights: str = "float32"
    images: int = 2

    @property
    def name(self) -> str:
        return f"{self.entry.name}, {self.weights}"

    def setting(self, base: Setting) -> Setting:
        decoder, _, vision = self.weights.partition("+")
        kinds: dict[str, WeightFormat | None] = {"int8": "int8", "fp8": "fp8"}
        if decoder in kinds:
            chosen = Quantization(decoder=kinds[decoder], vision=kinds.get(vision))
            return replace(base, quantization=chosen)
        return replace(base, dtype="bfloat16" if self.weights == "bfloat16" else "float32")


DENSE, FIFTH = Entry(budget=1.0), Entry(budget=0.2)
CASES = (
    Case(entry=Entry(transformers=True, batch_size=8), weights="plain", images=8),
    Case(entry=DENSE, weights="plain"),
    Case(entry=DENSE),
    Case(entry=FIFTH, weights="plain"),
    Case(entry=FIFTH),
    Case(entry=FIFTH, weights="bfloat16"),
    Case(entry=FIFTH, weights="int8"),
    Case(entry=FIFTH, weights="int8+int8"),
    Case(entry=FIFTH, weights="fp8+fp8"),
)


@contextmanager
def reordering(wanted: bool) -> Iterator[None]:
    before = onednn.is_there
    if not wanted:
        onednn.is_there = lambda: False  # type: ignore[assignment]  # For this process.
    try:
        yield
    finally:
        onednn.is_there = before


def opened(case: Case, base: Setting) -> Contestant:
    with reordering(case.weights != "plain"):
        contestant = case.entry.build(Subject(case.setting(base)))
        contestant.open()
    return contestant


def turn(contestant: Contestant, images: Sequence[bytes]) -> dict[str, float]:
    began, wall = time.process_time(), time.perf_counter()
    answers = contestant(images)
    spent = time.process_time() - began
    phases = {phase: sum(getattr(a, phase) for a in answers) / len(images) for phase in PHASES}
    return {
        "cpu_sec_per_image": spent / len(images),
        "wall_sec_per_image": (time.perf_counter() - wall) / len(images),
        **{f"wall_{phase}": value for phase, value in phases.items()},
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="44m")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--contestants", default="", help="only those whose names hold this")
    options.add_argument("--output", type=Path, required=True)
    given = options.parse_args()
    torch.set_num_threads(1)
    images = make_images(8, width=672, height=672)
    cases = [case for case in CASES if given.contestants in case.name]
    found: dict[str, Any] = {"environment": environment(torch.device("cpu")), "repeats": []}
    with prepared(Setting(model=given.model)) as base:
        contestants = {case.name: opened(case, base) for case in cases}
        for name, contestant in contestants.items():
            print("warm-up", name, flush=True)
            contestant(images[:1])
        for _ in range(given.repeats):
            found["repeats"].append({})
            for case in cases:
                taken = turn(contestants[case.name], images[: case.images])
                found["repeats"][-1][case.name] = taken
                print(f"{case.name}: {taken['cpu_sec_per_image']:.3f} CPU s an image", flush=True)
            given.output.write_text(json.dumps(found, indent=1) + "\n")
    first = cases[0].name
    for case in cases:
        spent = [repeat[case.name]["cpu_sec_per_image"] for repeat in found["repeats"]]
        ratios = [r[first]["cpu_sec_per_image"] / r[case.name]["cpu_sec_per_image"]
                  for r in found["repeats"]]  # fmt: skip
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {case.name} | {statistics.median(spent):.3f} | {shown} |")


if __name__ == "__main__":
    main()
