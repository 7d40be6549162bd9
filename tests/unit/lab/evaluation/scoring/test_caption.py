"""Caption F1, by hand."""

from __future__ import annotations

import json

import pytest

from lab.evaluation.scoring.caption_metrics import CaptionF1
from lab.evaluation.scoring.metric import Answered
from tests.support.scoring import answered, value_of

METRIC = CaptionF1()


def caption(
    text: str | None, objects: list[list[str]] | None = None, signs: list[str] | None = None
) -> Answered:
    """A caption of an image that shows these."""
    truth = {"objects": objects or [], "signs": signs or []}
    return answered(text, "", truth=json.dumps(truth))


RIGHT = "A red circle, a blue square, and a sign that says EXIT7."
SHOWN = [["red", "circle"], ["blue", "square"]]


def test_objects_and_signs_count_alike():
    assert METRIC.counts([caption(RIGHT, SHOWN, ["EXIT7"])]) == (3.0, 3.0, 3.0)
    # The sign is misread: it is missed, and what was read is wrong.
    assert METRIC.counts([caption(RIGHT, SHOWN, ["EXIT1"])]) == (2.0, 3.0, 3.0)
    assert METRIC.score(caption(RIGHT, SHOWN, ["EXIT1"])) == pytest.approx(4 / 6)


def test_colour_and_shape_have_to_be_of_one_object():
    swapped = "A blue circle and a red square."
    assert METRIC.counts([caption(swapped, SHOWN)]) == (0.0, 2.0, 2.0)


def test_saying_it_twice_or_in_capitals_changes_nothing():
    text = "A Red Circle, a red circle and a red circle."
    assert METRIC.counts([caption(text, [["Red", "circle"]])]) == (1.0, 1.0, 1.0)


def test_f1_is_pooled_over_captions():
    images = [
        [caption(RIGHT, SHOWN, ["EXIT7"])],
        # One of two named, one of four shown.
        [
            caption(
                "A red circle and a green star.",
                [*SHOWN, ["red", "square"], ["blue", "circle"]],
            )
        ],
    ]
    # 4 right; 5 named, 7 shown.
    assert value_of(METRIC, images) == pytest.approx(100 * 8 / 12)


def test_empty_captions_and_empty_scenes():
    assert METRIC.score(caption("")) == 1.0
    assert METRIC.score(caption("", SHOWN)) == 0.0
    assert METRIC.score(caption(RIGHT)) == 0.0
    assert value_of(METRIC, [[caption("")]]) == 0.0


def test_a_lost_caption_misses_everything():
    lost = caption(None, SHOWN, ["EXIT7"])
    assert METRIC.counts([lost]) == (0.0, 0.0, 3.0)
    assert METRIC.score(lost) == 0.0
    assert METRIC.score(caption(None)) == 0.0
