"""Answers in memory are measured as those of an evaluation, by hand."""

from __future__ import annotations

import pytest

from lab.evaluation.direct.compare import compare
from lab.evaluation.results.answers import Answer
from lab.questions import BenchmarkImage, Question


def image(name: str, *tasks: str) -> BenchmarkImage:
    questions = tuple(
        Question(question_id=f"{name}-{task}", task=task, text="?", answers=("1",))
        for task in tasks
    )
    return BenchmarkImage(image_id=name, data=name.encode(), questions=questions)


IMAGES = [image("a", "count"), image("b", "count", "spatial"), image("c", "spatial")]


def said(*rows: str) -> list[list[Answer]]:
    """A letter an answer: whatever is not 1 is wrong, x is lost."""
    return [[Answer(text=None if text == "x" else text) for text in row] for row in rows]


def test_values_averages_and_differences() -> None:
    answers = {"base": said("1", "02", "1"), "new": said("1", "11", "x")}
    found = {
        (each["label"], each["task"]): each
        for each in compare(answers, IMAGES, against="base", num_draws=200)
        if each["primary"]
    }
    values = {key: each["value"] for key, each in found.items()}
    assert values == {
        ("base", "count"): 50.0,
        ("base", "spatial"): 50.0,
        ("base", "average"): 50.0,
        ("new", "count"): 100.0,
        ("new", "spatial"): 50.0,
        ("new", "average"): 75.0,
    }
    assert found["base", "average"]["minus"] == {}
    assert found["new", "average"]["minus"]["base"]["value"] == pytest.approx(25.0)
    assert found["new", "count"]["low"] == found["new", "count"]["high"] == 100.0


def test_answers_have_to_be_about_these_images() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare({"one": said("1", "11")}, IMAGES)
