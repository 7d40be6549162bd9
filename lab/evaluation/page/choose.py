"""Which questions of an evaluation are shown: some right, some where methods differ, some wrong."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lab.evaluation.page.examples import Answer

__all__ = ["KINDS", "Chosen", "choose", "kinds_of"]

KINDS: Final = {
    "differ": "methods differ at one budget",
    "fail": "the dense model is not right",
    "right": "every run is right",
}
"""A question may be of two kinds: the dense model may fail where a method does not."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A question that is shown, by its place in what was given, and why."""

    place: int
    task: str
    why: str


def kinds_of(answers: Sequence[Answer]) -> set[str]:
    """The keys of KINDS that hold for one question's answers in all runs."""
    at: dict[float, set[float]] = defaultdict(set)
    for answer in answers:
        at[answer.budget].add(answer.score or 0)
    kinds = set()
    if any(len(scores) > 1 for scores in at.values()):
        kinds.add("differ")
    dense = [one for one in answers if one.method == "dense" or one.budget == 1]
    if any(one.verdict != "right" for one in dense):
        kinds.add("fail")
    if all(one.verdict == "right" for one in answers):
        kinds.add("right")
    return kinds


def choose(
    tasks: Sequence[str], answers: Sequence[Sequence[Answer]], *, each: int, seed: int
) -> list[Chosen]:
    """At most `each` questions of each kind for each task, none twice; by task, in KINDS' order.

    Drawn at random by a generator seeded with `seed`, the task and the kind, so that neither the
    order of tasks nor their number changes what is drawn of one.
    """
    of_task: Mapping[str, list[int]] = defaultdict(list)
    for place, task in enumerate(tasks):
        of_task[task].append(place)
    return [
        one
        for task, places in of_task.items()
        for one in _choose(task, {p: kinds_of(answers[p]) for p in places}, each, seed)
    ]


def _choose(task: str, kinds: Mapping[int, set[str]], each: int, seed: int) -> Iterator[Chosen]:
    taken: set[int] = set()
    for kind, words in KINDS.items():
        able = [place for place, found in kinds.items() if kind in found]
        free = [place for place in able if place not in taken]
        drawn = random.Random(f"{seed} {task} {kind}").sample(free, min(each, len(free)))
        taken.update(drawn)
        why = f"Picked from the {len(able)} of {len(kinds)} questions where {words}."
        yield from (Chosen(place=place, task=task, why=why) for place in drawn)
