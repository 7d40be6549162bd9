"""Where questions come from: the rendered benchmark, or files of a public one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pipeline.errors import ConfigError
from pipeline.evaluation.options import EvaluationConfig
from pipeline.evaluation.questions import BenchmarkImage

__all__ = ["Benchmark", "choose", "drawn", "only_tasks"]

RENDERED: Final = "rendered"
_RENDERED_IMAGES: Final = 2000


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Images with questions.

    Attributes:
        tasks: those that are asked, in the order of the table.
        setting: what decides which questions these are; stored with them.
        images: the images, from the first, whenever it is called.
    """

    name: str
    tasks: tuple[str, ...]
    setting: dict[str, Any]
    images: Callable[[], Iterable[BenchmarkImage]]


def choose(config: EvaluationConfig) -> Benchmark:
    """The benchmark that is asked for.

    Raises:
        ConfigError: if there is none of that name, or it lacks a task, or input is missing.
    """
    if config.benchmark == RENDERED:
        return _rendered(config)
    return _public(config)


def _public(config: EvaluationConfig) -> Benchmark:
    from pipeline.evaluation.public import BENCHMARKS

    if config.benchmark not in BENCHMARKS:
        there = ", ".join((RENDERED, *BENCHMARKS))
        raise ConfigError(f"benchmark: no {config.benchmark!r}; there are {there}")
    if not config.input:
        raise ConfigError(f"input: --benchmark {config.benchmark} is read from files; name them")
    reader = BENCHMARKS[config.benchmark]
    tasks = config.tasks_of((config.benchmark,), config.benchmark)
    wanted, paths, seed = config.num_samples, list(config.input), config.seed

    def images() -> Iterator[BenchmarkImage]:
        return drawn(lambda: only_tasks(reader.read(paths), tasks), wanted, seed)

    setting = _setting(config, tasks) | {"input": paths}
    return Benchmark(name=config.benchmark, tasks=tasks, setting=setting, images=images)


def _rendered(config: EvaluationConfig) -> Benchmark:
    from pipeline.evaluation.render import TASKS, render

    if config.input:
        raise ConfigError("input: the rendered benchmark reads no files; choose a --benchmark")
    tasks = config.tasks_of(TASKS, RENDERED)
    wanted = config.num_samples or _RENDERED_IMAGES

    def images() -> Iterator[BenchmarkImage]:
        return only_tasks(render(config.split, wanted, config.seed, tasks), tasks)

    setting = _setting(config, tasks) | {"split": config.split, "num_samples": wanted}
    return Benchmark(name=RENDERED, tasks=tasks, setting=setting, images=images)


def _setting(config: EvaluationConfig, tasks: Sequence[str]) -> dict[str, Any]:
    return {
        "benchmark": config.benchmark,
        "tasks": list(tasks),
        "num_samples": config.num_samples,
        "seed": config.seed,
    }


def only_tasks(images: Iterable[BenchmarkImage], tasks: Sequence[str]) -> Iterator[BenchmarkImage]:
    """Without questions of other tasks, and images that are left with none."""
    for image in images:
        asked = tuple(question for question in image.questions if question.task in tasks)
        if asked:
            yield replace(image, questions=asked)


def drawn(
    read: Callable[[], Iterator[BenchmarkImage]], wanted: int | None, seed: int
) -> Iterator[BenchmarkImage]:
    """`wanted` images drawn by `seed`, in the order of the files: these are often sorted by kind.

    Reads everything twice, rather than keep it.
    """
    if wanted is None:
        yield from read()
        return
    total = sum(1 for _ in read())
    rng = np.random.default_rng(seed)
    chosen = set(rng.choice(total, size=min(wanted, total), replace=False).tolist())
    yield from (image for index, image in enumerate(read()) if index in chosen)
