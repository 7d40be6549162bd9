"""Values, intervals and paired differences of all variants, as plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lab.evaluation.results.answers import Answer
from lab.evaluation.results.bootstrap import Draws, interval
from lab.evaluation.scoring.metric import Answered, Floats, Metric
from lab.evaluation.scoring.registry import LESS_IS_BETTER, metrics_of
from lab.evaluation.store import AskedImage

__all__ = ["AVERAGE", "Compared", "Counts", "count", "measure"]

AVERAGE = "average"

Counts = Mapping[tuple[str, str], Floats]
"""By task and metric, `[num_images, k]`: what each image adds; zeros where it was not asked."""


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """A value and what it is in every draw."""

    value: float
    draws: Floats

    def to_json(self) -> dict[str, float]:
        low, high = interval(self.draws)
        return {"value": self.value, "low": low, "high": high}

    def minus(self, other: _Figure) -> dict[str, float]:
        """The paired difference: both are of the same draws."""
        return _Figure(value=self.value - other.value, draws=self.draws - other.draws).to_json()


def count(
    asked: Sequence[AskedImage],
    answers: Mapping[str, Answer],
    tasks: Sequence[str],
    kept: Sequence[bool],
) -> Counts:
    """What each image adds to each metric of each task.

    Args:
        kept: which images count.
    """
    found: dict[tuple[str, str], Floats] = {}
    for task in tasks:
        given = [
            _answered(image, answers, task) if keep else []
            for image, keep in zip(asked, kept, strict=True)
        ]
        for metric in metrics_of(task):
            found[task, metric.name] = _rows(
                [metric.counts(some) if some else () for some in given]
            )
    return found


def _answered(image: AskedImage, answers: Mapping[str, Answer], task: str) -> list[Answered]:
    return [
        Answered(question=question, prediction=answers[row_id].text)
        for question, row_id in zip(image.questions, image.row_ids, strict=True)
        if question.task == task
    ]


def _rows(counts: Sequence[tuple[float, ...]]) -> Floats:
    width = max(map(len, counts), default=1) or 1
    return np.array([row or (0.0,) * width for row in counts], dtype=np.float64)


class Compared(Protocol):
    """A row of the table: what it is called, and the labels that it is compared with, by name."""

    @property
    def label(self) -> str: ...
    @property
    def against(self) -> Mapping[str, str]: ...


def measure(
    variants: Sequence[Compared],
    counts: Mapping[str, Counts],
    asked: Sequence[AskedImage],
    tasks: Sequence[str],
    *,
    num_draws: int,
    seed: int,
) -> list[dict[str, Any]]:
    """One entry for each variant, task and metric, and one for each variant's average of tasks.

    Values are as the metric has them. The average is over the tasks' first metrics, each as a
    share of its best, 0 to 100. "minus" holds the differences to the variants it is compared with,
    "better" whether "more" or "less" of a metric is. "images" are those that the draws vary: with
    fewer than 6, no luck of theirs is ruled out (see `lab.evaluation.results.table`).

    Args:
        counts: by the label of the variant.
    """
    cluster_of, strata = clusters_of(asked)
    draws = Draws(strata, num_draws, seed)
    images = _num_drawn(asked, tasks, cluster_of, strata)
    figures = {
        label: _figures(_clustered(found, cluster_of), tasks, draws)
        for label, found in counts.items()
    }
    return [
        {"label": variant.label, "task": task, "metric": metric, "primary": primary}
        | {
            "maximum": maximum,
            "images": images[task],
            "better": "less" if metric in LESS_IS_BETTER else "more",
        }
        | figures[variant.label][task, metric].to_json()
        | {
            "minus": {
                name: figures[variant.label][task, metric].minus(figures[other][task, metric])
                for name, other in variant.against.items()
            }
        }
        for variant in variants
        for task, metric, maximum, primary in _measured(tasks)
    ]


def _measured(tasks: Sequence[str]) -> list[tuple[str, str, float, bool]]:
    """Task, metric, its best value and whether it stands for the task; the average last."""
    found = [
        (task, metric.name, metric.maximum, index == 0)
        for task in tasks
        for index, metric in enumerate(metrics_of(task))
    ]
    return [*found, (AVERAGE, AVERAGE, 100.0, True)]


def clusters_of(asked: Sequence[AskedImage]) -> tuple[list[int], list[int]]:
    """The cluster of each image, and the stratum of each cluster.

    A cluster is all that is asked about the same picture; clusters of which the same tasks are
    asked are a stratum.
    """
    clusters: dict[str, int] = {}
    cluster_of = [clusters.setdefault(image.digest, len(clusters)) for image in asked]
    tasks: list[set[str]] = [set() for _ in clusters]
    for image, cluster in zip(asked, cluster_of, strict=True):
        tasks[cluster].update(question.task for question in image.questions)
    strata: dict[frozenset[str], int] = {}
    return cluster_of, [strata.setdefault(frozenset(kind), len(strata)) for kind in tasks]


def _num_drawn(
    asked: Sequence[AskedImage],
    tasks: Sequence[str],
    cluster_of: Sequence[int],
    strata: Sequence[int],
) -> dict[str, int]:
    """By task, the clusters that are asked it; without those alone in their stratum, of which every
    draw has exactly one. The average has those of the task with the fewest."""
    sizes = Counter(strata)
    found: dict[str, set[int]] = {task: set() for task in tasks}
    for image, cluster in zip(asked, cluster_of, strict=True):
        if sizes[strata[cluster]] > 1:
            for task in {question.task for question in image.questions} & found.keys():
                found[task].add(cluster)
    numbers = {task: len(clusters) for task, clusters in found.items()}
    return numbers | {AVERAGE: min(numbers.values(), default=0)}


def _clustered(counts: Counts, cluster_of: Sequence[int]) -> Counts:
    """Sums over the images of each cluster: a metric may pair what is asked of one image."""
    found = {}
    for key, per_image in counts.items():
        found[key] = np.zeros((max(cluster_of) + 1, per_image.shape[1]))
        np.add.at(found[key], np.asarray(cluster_of), per_image)
    return found


def _figures(counts: Counts, tasks: Sequence[str], draws: Draws) -> dict[tuple[str, str], _Figure]:
    keys = list(counts)
    sums = dict(zip(keys, draws.sums([counts[key] for key in keys]), strict=True))
    found = {}
    for task in tasks:
        for metric in metrics_of(task):
            key = task, metric.name
            found[key] = _figure(metric, counts[key], sums[key])
    shares = [
        (metrics_of(task)[0].maximum, found[task, metrics_of(task)[0].name]) for task in tasks
    ]
    found[AVERAGE, AVERAGE] = _Figure(
        value=float(np.mean([100 * each.value / best for best, each in shares])),
        draws=np.mean([100 * each.draws / best for best, each in shares], axis=0),
    )
    return found


def _figure(metric: Metric, counts: Floats, sums: Floats) -> _Figure:
    return _Figure(value=float(metric.value(counts.sum(axis=0))), draws=metric.value(sums))
