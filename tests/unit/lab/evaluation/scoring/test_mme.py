"""MME's score, by hand."""

from __future__ import annotations

import pytest

from lab.evaluation.scoring.metric import Answered
from lab.evaluation.scoring.mme import MME_CATEGORIES, MME_METRICS, MmeScore, yes_or_no
from tests.support.scoring import answered, value_of

COUNT = MmeScore(name="MME count", categories=("count",))


def pair(first: str | None, second: str | None, category: str = "count") -> list[Answered]:
    """An image's two answers, where yes and then no is right."""
    return [
        answered(first, "Yes", category=category),
        answered(second, "No", category=category),
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes", "yes"),
        ("yes, it is", "yes"),
        ("No.", "no"),
        (" no way", "no"),
        ("Y", "yes"),
        ("n.", "no"),
        # Within the first four characters, whatever it is part of.
        ("not sure", "no"),
        ("(Yes)", "yes"),
        ("The answer is yes", None),
        ("maybe", None),
        ("x", None),
        ("", None),
    ],
)
def test_the_start_of_an_answer_is_read(text, word):
    assert yes_or_no(text) == word


def test_counts_of_an_image_are_questions_and_the_pair():
    assert COUNT.counts(pair("yes", "no")) == (2.0, 2.0, 1.0, 1.0)
    assert COUNT.counts(pair("yes", "yes")) == (1.0, 2.0, 0.0, 1.0)
    assert COUNT.counts(pair("maybe", "yes")) == (0.0, 2.0, 0.0, 1.0)


def test_a_category_is_accuracy_and_accuracy_plus():
    # Five of eight questions: 62.5. Two of four images: 50.
    images = [pair("yes", "no"), pair("yes", "no"), pair("yes", "yes"), pair("no", "yes")]
    assert value_of(COUNT, images) == pytest.approx(62.5 + 50.0)


def test_a_lost_row_is_wrong_and_spoils_its_pair():
    assert COUNT.counts(pair(None, "no")) == (1.0, 2.0, 0.0, 1.0)
    assert COUNT.score(answered(None, "Yes", category="count")) == 0.0


def test_a_total_adds_categories_up_however_many_images_they_have():
    total = MmeScore(name="both", categories=("count", "OCR"))
    images = [
        pair("yes", "no"),
        pair("yes", "no", "OCR"),
        pair("yes", "yes", "OCR"),
        pair("no", "yes", "landmark"),
    ]
    # Count 100 + 100; OCR 3 of 4 questions and 1 of 2 images; a landmark is none of its business.
    assert value_of(total, images) == pytest.approx(200.0 + 75.0 + 50.0)
    assert total.counts(images[3]) == (0.0,) * 8


def test_the_best_there_is():
    images = [pair("yes", "no", category) for category in MME_CATEGORIES]
    assert [(m.name, m.maximum) for m in MME_METRICS[:2]] == [
        ("MME perception", 2000.0),
        ("MME cognition", 800.0),
    ]
    for metric in MME_METRICS:
        assert value_of(metric, images) == metric.maximum
    assert len(MME_METRICS) == 2 + 14
