"""Inventions of captions, by hand."""

from __future__ import annotations

import json

import pytest

from lab.evaluation.scoring.caption_metrics import Invented
from lab.evaluation.scoring.metric import Answered
from lab.evaluation.scoring.registry import LESS_IS_BETTER, metrics_of
from tests.support.scoring import answered, value_of

METRIC = Invented()
SHOWN = [["red", "circle"], ["blue", "square"]]


def caption(text: str | None, signs: tuple[str, ...] = ("EXIT7",)) -> Answered:
    return answered(text, "", truth=json.dumps({"objects": SHOWN, "signs": signs}))


def test_objects_and_texts_that_are_not_there() -> None:
    """A misread sign and a wrong colour are inventions, what is left out is none."""
    right = caption("A red circle and a sign that says EXIT7.")
    assert METRIC.counts([right]) == (0.0, 2.0) and METRIC.score(right) == 1.0
    wrong = caption("A green circle, a blue square and a sign that says EXIT1.")
    assert METRIC.counts([wrong]) == (2.0, 3.0)
    assert METRIC.score(wrong) == pytest.approx(1 / 3)
    twice = caption("A green circle and a green circle.")
    assert METRIC.counts([twice]) == (1.0, 1.0)


def test_pooled_over_captions_and_none_where_nothing_is_named() -> None:
    images = [
        [caption("A red circle, a green star and a red star.")],  # 2 of 3
        [caption("A blue square.")],  # 0 of 1
        [caption("Nothing.")],
        [caption(None)],
    ]
    assert value_of(METRIC, images) == pytest.approx(100 * 2 / 4)
    assert value_of(METRIC, images[2:]) == 0.0
    assert METRIC.score(caption("Nothing.")) == 1.0 and METRIC.score(caption(None)) == 0.0


def test_is_told_beside_f1_and_marked_as_better_when_less() -> None:
    first, second = metrics_of("caption")
    assert first.name == "caption F1" and second == METRIC
    assert second.name in LESS_IS_BETTER and first.name not in LESS_IS_BETTER
