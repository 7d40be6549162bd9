"""What holds for every metric: bounds, order, addition; and which task has which."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.evaluation.scoring.metric import Answered, Metric
from lab.evaluation.scoring.mme import MME_CATEGORIES
from lab.evaluation.scoring.registry import metrics_of
from lab.questions import Question

TASKS = {
    "attribute": "exact match",
    "existence": "F1",
    "count": "exact match",
    "spatial": "exact match",
    "scene_text": "exact match",
    "document": "ANLS",
    "chart": "relaxed accuracy",
    "caption": "caption F1",
    "textvqa": "VQA accuracy",
    "vqav2": "VQA accuracy",
    "docvqa": "ANLS",
    "chartqa": "relaxed accuracy",
    "scienceqa": "accuracy",
    "pope": "F1",
    "mme": "MME perception",
    "ocrbench": "OCRBench score",
}
# Of MME the two totals and one category: the others differ in name alone.
EVERY_METRIC = [
    pytest.param(metric, id=metric.name)
    for metric in dict.fromkeys(metric for task in TASKS for metric in metrics_of(task)[:3])
]
TRUTH = json.dumps({"objects": [["red", "circle"]], "signs": ["A1"]})

texts = st.sampled_from(
    [
        *("yes", "no", "Yes.", "not sure", "B", "B. Paris", "12", "12.4", "12%", "1,234", "0", ""),
        *("a red circle", "a blue square and a sign that says A1", "é", "the two dogs"),
    ]
)
questions = st.builds(
    Question,
    question_id=st.just("q"),
    task=st.just("t"),
    text=st.just("?"),
    answers=st.lists(texts, min_size=1, max_size=10).map(tuple),
    details=st.sampled_from(MME_CATEGORIES).map(lambda name: {"category": name, "truth": TRUTH}),
)
answers = st.builds(Answered, question=questions, prediction=st.none() | texts)
one_image = st.lists(answers, min_size=1, max_size=4)
some_images = st.lists(one_image, min_size=1, max_size=8)


def sums_of(metric: Metric, images: list[list[Answered]]) -> np.ndarray:
    return np.sum([metric.counts(image) for image in images], axis=0)


@pytest.mark.parametrize("metric", EVERY_METRIC)
@settings(max_examples=40, deadline=None)
@given(images=some_images)
def test_values_lie_between_nothing_and_the_maximum(metric: Metric, images):
    assert all(0.0 <= metric.score(item) <= 1.0 for image in images for item in image)
    assert -1e-9 <= metric.value(sums_of(metric, images)) <= metric.maximum + 1e-9


@pytest.mark.parametrize("metric", EVERY_METRIC)
@settings(max_examples=40, deadline=None)
@given(data=st.data(), image=one_image)
def test_the_order_of_answers_does_not_matter(metric: Metric, data, image):
    shuffled = data.draw(st.permutations(image))
    assert metric.counts(shuffled) == pytest.approx(metric.counts(image))


# MME's pairs are images: there an image is not split.
@pytest.mark.parametrize(
    "metric",
    [param for param in EVERY_METRIC if not param.values[0].name.startswith("MME")],
)
@settings(max_examples=40, deadline=None)
@given(first=one_image, second=one_image)
def test_counts_of_questions_add_up(metric: Metric, first, second):
    apart = np.add(metric.counts(first), metric.counts(second))
    assert metric.counts([*first, *second]) == pytest.approx(tuple(apart))


@pytest.mark.parametrize("metric", EVERY_METRIC)
@settings(max_examples=40, deadline=None)
@given(images=some_images, weights=st.lists(st.integers(0, 3), min_size=8, max_size=8))
def test_many_draws_are_valued_at_once(metric: Metric, images, weights):
    counts = np.array([metric.counts(image) for image in images])
    draws = np.array([weights[: len(images)], [1] * len(images), [0] * len(images)], dtype=float)
    values = metric.value(draws @ counts)
    assert values.shape == (3,)
    repeated = [im for im, n in zip(images, weights, strict=False) for _ in range(n)]
    if repeated:
        assert values[0] == pytest.approx(float(metric.value(sums_of(metric, repeated))))
    assert values[1] == pytest.approx(float(metric.value(sums_of(metric, images))))
    assert values[2] == 0.0


@pytest.mark.parametrize(("task", "primary"), TASKS.items())
def test_a_task_is_measured_first_by(task: str, primary: str):
    assert metrics_of(task)[0].name == primary


def test_names_tell_the_metrics_of_a_task_apart():
    for task in TASKS:
        names = [metric.name for metric in metrics_of(task)]
        assert len(set(names)) == len(names)
    assert [metric.name for metric in metrics_of("existence")] == ["F1", "yes-rate", "accuracy"]


def test_an_unknown_task_is_told_which_there_are():
    with pytest.raises(ValueError, match=r"'caption_f1'; there are: attribute, .*ocrbench$"):
        metrics_of("caption_f1")
    with pytest.raises(ValueError, match=", ".join(TASKS)):
        metrics_of("")
