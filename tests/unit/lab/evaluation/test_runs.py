"""Which runs an evaluation is made of, what they are called and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from lab.evaluation.options import parse_evaluation
from lab.evaluation.results.plot import Axis
from lab.evaluation.results.results import kept_images
from lab.evaluation.store import AskedImage
from lab.evaluation.study.runs import grid, label_of, runs_of
from lab.evaluation.study.study import Study, ablation_study, studies_of
from lab.questions import Question
from pipeline.rows.errors import ConfigError
from tests.support.settings import reduction

BASE = reduction()


def study(*flags: str) -> Study:
    (found,) = studies_of(parse_evaluation(["--output", "o", *flags]), {})
    return found


def test_dense_is_run_once_whatever_the_methods() -> None:
    labels = [variant.label for variant in grid(["hired", "uniform"], [0.1, 1.0, 0.2], BASE)]
    assert labels == ["hired-0.1", "uniform-0.1", "dense", "hired-0.2", "uniform-0.2"]
    assert [v.label for v in grid(["dense", "hired"], [0.1, 1.0], BASE)] == ["hired-0.1", "dense"]
    assert [v.label for v in grid(["dense"], [0.1], BASE)] == ["dense"]


def test_each_is_compared_with_hired_at_its_budget_and_with_dense() -> None:
    found = {v.label: v.against for v in grid(["hired", "random"], [0.1, 0.2, 1], BASE)}
    assert found["random-0.2"] == {"hired": "hired-0.2", "dense": "dense"}
    assert found["hired-0.1"] == {"dense": "dense"}
    assert found["dense"] == {}
    assert grid(["random"], [0.1], BASE)[0].against == {}


def test_settings_of_all_runs_are_part_of_the_label() -> None:
    base = replace(BASE, alpha=0.75, newline="kept-rows")
    assert label_of(replace(base, budget=64.0)) == "hired-64-alpha-0.75-newline-kept-rows"
    assert label_of(BASE) == label_of(replace(BASE, budget=0.2)) == "hired-0.2"
    # With nothing dropped alpha makes no difference.
    assert grid(["hired"], [0.1, 1], base)[0].against == {"dense": "dense-newline-kept-rows"}


def test_settings_of_the_command_line_reach_every_run() -> None:
    found = study("--methods", "hired,uniform", "--budgets", "0.1,1", "--alpha", "0.25")
    assert {v.run.reduction.alpha for v in found.variants} == {0.25}
    assert [v.run.reduction.method for v in found.variants] == ["hired", "uniform", "hired"]
    assert [v.run.reduction.budget for v in found.variants] == [0.1, 0.1, 1.0]


def test_seed_is_also_the_samplers() -> None:
    settings = parse_evaluation(["--output", "o", "--seed", "7"])
    assert settings.evaluation.seed == settings.generation.seed == 7


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--methods", "hired,unifrom"), "methods: no 'unifrom'; there are distinct, hired"),
        (("--budgets", "0.1,x"), "budgets: expected numbers, got '0.1,x'"),
        (("--budgets", "1.5"), "budget: 1.5 is out of range"),
        (("--methods", ","), "methods: "),
        (("--num-samples", "0"), "num_samples: 0 is out of range"),
        (("--num-sample", "3"), "--num-sample: no such setting; did you mean --num-samples?"),
        (("--budget", "0.2"), "--budget: no such setting; did you mean --budgets?"),
        (("--ablation", "alpa"), "ablation: no 'alpa'; there are"),
        (("--alpha", "2"), "alpha: 2.0 is out of range"),
    ],
)
def test_mistakes_are_named(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        study(*flags)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_tasks_are_checked_and_keep_the_benchmarks_order() -> None:
    config = parse_evaluation(["--output", "o", "--tasks", "count, attribute"]).evaluation
    assert config.tasks_of(("attribute", "chart", "count"), "rendered") == ("attribute", "count")
    with pytest.raises(ConfigError, match="tasks: rendered has no 'count'; there are chart"):
        config.tasks_of(("chart",), "rendered")


@dataclass(frozen=True)
class Row:
    label: str
    selection: Mapping[str, Any]
    images: str | None = None


@dataclass(frozen=True)
class Ablation:
    name: str
    title: str
    settings: tuple[Row, ...]
    curve: Axis


ALPHA = Ablation(
    "alpha",
    "Alpha",
    (
        Row("alpha 0", {"alpha": 0.0}),
        Row("alpha 0.5", {}),
        Row("wide, alpha 0", {"alpha": 0.0}, "wide"),
        Row("wide, alpha 0.5", {}, "wide"),
        Row("alpha 0, 0.2", {"alpha": 0.0, "budget": 0.2}),
    ),
    "alpha",
)


def test_ablation_compares_with_the_first_of_the_same_budget_and_images() -> None:
    found = ablation_study(ALPHA, replace(BASE, budget=0.1))
    assert found.name == "ablation-alpha" and found.curve == "alpha"
    assert [v.against.get("first") for v in found.variants] == [
        *(None, "alpha 0", None, "wide, alpha 0", None)
    ]
    labels = ["hired-0.1-alpha-0.0", "hired-0.1", "hired-0.2-alpha-0.0"]
    assert [run.label for run in runs_of(found.variants)] == labels
    assert [v.images for v in found.variants] == [None, None, "wide", "wide", None]


def asked(*wide: str | None) -> list[AskedImage]:
    """One question about each image."""
    details = [{} if value is None else {"wide": value} for value in wide]
    questions = [
        Question(question_id="q", task="count", text="?", answers=("1",), details=each)
        for each in details
    ]
    return [
        AskedImage(image_id="i", digest="", questions=(question,), row_ids=("r",))
        for question in questions
    ]


def test_restrictions_go_by_the_details_of_questions() -> None:
    found = kept_images(ablation_study(ALPHA, BASE), asked("yes", "no", "yes"))
    assert found == {None: [True, True, True], "wide": [True, False, True]}


@pytest.mark.parametrize(
    ("wide", "message"),
    [(("yes", None), "does not tell which images are wide"), (("no", "no"), "no image is wide")],
)
def test_restrictions_that_cannot_be_are_refused(
    wide: tuple[str | None, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        kept_images(ablation_study(ALPHA, BASE), asked(*wide))
