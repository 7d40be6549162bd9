"""How true the shipped model's texts are about the shipped samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.benchmark.answers import Contestant
from pipeline.evaluation.gallery import Sample, load_samples
from pipeline.evaluation.metrics import SetScore, parse_caption, pool


def samples_in(folder: Path, count: int) -> list[Sample]:
    """The first `count` shipped samples of known content."""
    return list(load_samples(folder).values())[:count]


def f1_of(contestant: Contestant, samples: Sequence[Sample]) -> float:
    """F1 of the coloured shapes that a contestant names in rendered scenes of known content."""
    answers = contestant([sample.image for sample in samples])
    return pool(
        SetScore.of(parse_caption(answer.text).objects, sample.objects)
        for answer, sample in zip(answers, samples, strict=True)
    ).f1
