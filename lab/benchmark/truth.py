"""How true the shipped model's texts are about the shipped samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.benchmark.contestants.answers import Contestant
from lab.evaluation.gallery import Sample, load_samples
from lab.evaluation.scoring.captions import items_named


def samples_in(folder: Path, count: int) -> list[Sample]:
    """The first `count` shipped samples of known content."""
    return list(load_samples(folder).values())[:count]


def f1_of(contestant: Contestant, samples: Sequence[Sample]) -> float:
    """F1, 0 to 1, of what a contestant names in rendered pictures of known content."""
    answers = contestant([sample.image for sample in samples])
    right = total = 0
    for answer, sample in zip(answers, samples, strict=True):
        named = items_named(answer.text)
        right += len(named & sample.items)
        total += len(named) + len(sample.items)
    return 2 * right / max(1, total)
