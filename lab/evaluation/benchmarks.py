"""Where questions come from: the rendered benchmark, or files of a public one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lab.evaluation.options import EvaluationConfig
from lab.evaluation.public.registry import BENCHMARKS
from lab.questions import BenchmarkImage
from pipeline.rows.errors import ConfigError

__all__ = ["Benchmark", "choose", "drawn"]

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
    if config.benchmark not in BENCHMARKS:
        there = ", ".join((RENDERED, *BENCHMARKS))
        raise ConfigError(f"benchmark: no {config.benchmark!r}; there are {there}")
    if not config.input:
        raise ConfigError(f"input: --benchmark {config.benchmark} is read from files; name them")
    reading = BENCHMARKS[config.benchmark].reader(config.input)
    tasks = config.tasks_of((config.benchmark,), config.benchmark)

    def images() -> Iterator[BenchmarkImage]:
        return drawn(lambda: iter(reading), config.num_samples, config.seed)

    setting = _setting(config, tasks) | {"input": list(config.input)}
    return Benchmark(name=config.benchmark, tasks=tasks, setting=setting, images=images)


def _rendered(config: EvaluationConfig) -> Benchmark:
    from lab.rendering import TASKS, render

    if config.input:
        raise ConfigError("input: the rendered benchmark reads no files; choose a --benchmark")
    tasks = config.tasks_of(tuple(TASKS), RENDERED)
    wanted = config.num_samples or _RENDERED_IMAGES

    def images() -> Iterator[BenchmarkImage]:
        return render(config.split, wanted, config.seed, tasks)

    try:
        images()  # Refuses at once what it does not have; draws when asked for an image.
    except ValueError as exc:
        raise ConfigError(f"benchmark: {exc}") from exc
    setting = _setting(config, tasks) | {"split": config.split, "num_samples": wanted}
    return Benchmark(name=RENDERED, tasks=tasks, setting=setting, images=images)


def _setting(config: EvaluationConfig, tasks: Sequence[str]) -> dict[str, Any]:
    return {
        "benchmark": config.benchmark,
        "tasks": list(tasks),
        "num_samples": config.num_samples,
        "seed": config.seed,
    }


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
