"""The bootstrap against resampling in plain Python, and cases worked by hand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from lab.evaluation.results.answers import Answer
from lab.evaluation.results.bootstrap import Draws, interval
from lab.evaluation.results.measure import Counts, clusters_of, count, measure
from lab.evaluation.scoring.metric import Floats
from lab.evaluation.store import AskedImage
from lab.evaluation.study.runs import Run, Variant
from lab.questions import Question
from tests.support.settings import reduction

NUM_DRAWS = 1000


def f1(sums: Sequence[float]) -> float:
    right, said, true = sums
    return 2 * right / (said + true) if said + true else 0.0


def test_sums_are_those_of_the_images_drawn() -> None:
    """Every draw written out as a list of images and added up in plain Python."""
    rng = np.random.default_rng(3)
    counts: Floats = rng.random((7, 2))
    draws = Draws([0, 0, 1, 1, 1, 0, 2], NUM_DRAWS, seed=5)
    weights = np.concatenate(list(draws.weights()))
    sums = draws.sums([counts])[0]
    for weight, row in zip(weights, sums, strict=True):
        drawn = [image for image, times in enumerate(weight) for _ in range(int(times))]
        assert row == pytest.approx([sum(counts[i][k] for i in drawn) for k in range(2)])


def test_each_stratum_is_drawn_as_often_as_it_has_images() -> None:
    strata = [0, 0, 1, 1, 1, 0, 2]
    for weights in Draws(strata, 200, seed=1).weights():
        for kind, members in Counter(strata).items():
            of_kind = weights[:, np.equal(strata, kind)]
            assert (of_kind.sum(axis=1) == members).all()
        assert (weights[:, 6] == 1).all()  # alone in its stratum
        assert weights[:, 0].std() > 0.5


def test_distribution_is_that_of_resampling_with_replacement() -> None:
    """Quantiles of a metric that is no mean, beside 4,000 draws by `random.choices`."""
    rng = random.Random(7)
    images = [(1.0, 2.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 1.0), (2.0, 2.0, 2.0)] * 10
    naive = [
        f1([sum(column) for column in zip(*rng.choices(images, k=len(images)), strict=True)])
        for _ in range(4000)
    ]
    sums = Draws([0] * len(images), 4000, seed=0).sums([np.array(images)])[0]
    ours = [f1(row) for row in sums.tolist()]
    assert np.mean(ours) == pytest.approx(np.mean(naive), abs=0.01)
    for own, other in zip(interval(np.array(ours)), interval(np.array(naive)), strict=True):
        assert own == pytest.approx(other, abs=0.02)


def test_two_images_by_hand() -> None:
    """One right, one wrong: 0, 1/2 and 1 with probabilities 1/4, 1/2 and 1/4."""
    sums = Draws([0, 0], 20_000, seed=0).sums([np.array([[1.0, 1.0], [0.0, 1.0]])])[0]
    shares = Counter((sums[:, 0] / sums[:, 1]).tolist())
    assert set(shares) == {0.0, 0.5, 1.0}
    assert shares[0.0] / 20_000 == pytest.approx(0.25, abs=0.015)
    assert shares[0.5] / 20_000 == pytest.approx(0.5, abs=0.015)


def test_interval_leaves_out_as_much_below_as_above() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))


def test_draws_are_the_same_however_many_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(0).random((6, 2))
    at_once = Draws([0] * 6, 50, seed=2).sums([counts])[0]
    monkeypatch.setattr("lab.evaluation.results.bootstrap._WEIGHTS_AT_ONCE", 6 * 7)
    assert len(list(Draws([0] * 6, 50, seed=2).weights())) == 8
    assert np.allclose(Draws([0] * 6, 50, seed=2).sums([counts])[0], at_once)


def asked_images(num_images: int) -> list[AskedImage]:
    """By turns one question to count, two to read."""
    found = []
    for index in range(num_images):
        tasks = ("count",) if index % 2 else ("document", "document")
        found.append(
            AskedImage(
                image_id=f"i{index}",
                digest=f"i{index}",
                questions=tuple(
                    Question(question_id=f"{index}-{k}", task=task, text="?", answers=("3 apples",))
                    for k, task in enumerate(tasks)
                ),
                row_ids=tuple(f"{index}#{k}" for k in range(len(tasks))),
            )
        )
    return found


def answers_to(asked: Sequence[AskedImage], texts: Sequence[str]) -> dict[str, Answer]:
    ids = [row_id for image in asked for row_id in image.row_ids]
    return {row_id: Answer(text=texts[i % len(texts)]) for i, row_id in enumerate(ids)}


def variant(label: str, **against: str) -> Variant:
    return Variant(label=label, run=Run(label=label, reduction=reduction()), against=against)


def measured(
    variants: Sequence[Variant], counts: dict[str, Counts], asked: Sequence[AskedImage]
) -> dict[tuple[str, str], dict[str, object]]:
    entries = measure(variants, counts, asked, ("count", "document"), num_draws=500, seed=0)
    return {(e["label"], e["task"]): e for e in entries if e["primary"]}


def test_difference_of_identical_answers_is_exactly_nothing() -> None:
    """Also of partial scores, whose sums are rounded."""
    asked = asked_images(31)
    tasks = ("count", "document")
    answers = answers_to(asked, ("3 apples", "3 apple", "3 appels", "no"))
    counts = {label: count(asked, answers, tasks, [True] * len(asked)) for label in ("a", "b")}
    found = measured([variant("a"), variant("b", first="a")], counts, asked)
    for task in (*tasks, "average"):
        entry = found["b", task]
        assert 0 < entry["value"] < 100 and entry["low"] < entry["high"]  # type: ignore[operator]
        assert entry["minus"] == {"first": {"value": 0.0, "low": 0.0, "high": 0.0}}


@pytest.mark.parametrize(("each", "varied"), [(1, 0), (2, 2), (3, 3)])
def test_images_that_draws_vary_are_counted(each: int, varied: int) -> None:
    """Of a task that one image is asked draws vary none: every draw has it, once."""
    asked = asked_images(2 * each)
    answers = answers_to(asked, ("3 apples",))
    counts = {"a": count(asked, answers, ("count", "document"), [True] * len(asked))}
    found = measured([variant("a")], counts, asked)
    assert {entry["images"] for entry in found.values()} == {varied}


def test_paired_difference_is_narrower_than_its_parts() -> None:
    """Two runs that are wrong about the same images, but for one image in ten."""
    asked = [image for image in asked_images(80) if image.questions[0].task == "count"]
    tasks = ("count",)
    right = {image.row_ids[0] for index, image in enumerate(asked) if index % 2}
    better = right | {image.row_ids[0] for index, image in enumerate(asked) if index % 10 == 0}
    ids = [image.row_ids[0] for image in asked]
    counts = {
        label: count(
            asked,
            {i: Answer(text="3 apples" if i in good else "") for i in ids},
            tasks,
            [True] * 40,
        )
        for label, good in (("worse", right), ("better", better))
    }
    variants = [variant("worse"), variant("better", first="worse")]
    entries = measure(variants, counts, asked, tasks, num_draws=500, seed=0)
    found = {(e["label"], e["task"]): e for e in entries}
    entry = found["better", "count"]
    assert entry["value"] == 60 and found["worse", "count"]["value"] == 50
    assert entry["minus"]["first"]["value"] == 10
    assert 0 < entry["minus"]["first"]["low"] < 10 < entry["minus"]["first"]["high"] < 25
    assert entry["low"] < found["worse", "count"]["high"]  # unpaired, nothing would be shown


def test_average_is_that_of_the_tasks_and_lost_questions_count() -> None:
    asked = asked_images(4)  # documents 0 and 2 with two questions each, counts 1 and 3
    answers = answers_to(asked, ("3 apples",))
    answers[asked[1].row_ids[0]] = Answer(text=None, error_code="image_truncated")
    counts = {"a": count(asked, answers, ("count", "document"), [True] * len(asked))}
    found = measured([variant("a")], counts, asked)
    assert found["a", "count"]["value"] == 50
    assert found["a", "document"]["value"] == 100
    assert found["a", "average"]["value"] == 75


def test_images_that_are_left_out_count_for_nothing() -> None:
    asked = asked_images(4)
    answers = answers_to(asked, ("3 apples",))
    answers[asked[1].row_ids[0]] = Answer(text="")
    counts = {"a": count(asked, answers, ("count", "document"), [True, False, True, True])}
    assert measured([variant("a")], counts, asked)["a", "count"]["value"] == 100


def test_strata_are_images_with_the_same_tasks() -> None:
    assert clusters_of(asked_images(5)) == ([0, 1, 2, 3, 4], [0, 1, 0, 1, 0])


def test_the_same_picture_is_drawn_as_one() -> None:
    """Two copies of each of 40 images tell no more than 40: the interval stays as wide."""
    once = [image for image in asked_images(80) if image.questions[0].task == "count"]
    twice = [
        replace(image, row_ids=(f"{copy}{image.row_ids[0]}",)) for copy in "ab" for image in once
    ]
    cluster_of, strata = clusters_of(twice)
    assert len(cluster_of) == 80 and len(strata) == 40

    def width(asked: Sequence[AskedImage]) -> float:
        answers = {
            image.row_ids[0]: Answer(text="3 apples" if int(image.image_id[1:]) % 4 == 1 else "")
            for image in asked
        }
        counts = {"a": count(asked, answers, ("count",), [True] * len(asked))}
        entry = measure([variant("a")], counts, asked, ("count",), num_draws=500, seed=0)[0]
        assert entry["value"] == 50
        return float(entry["high"] - entry["low"])

    assert width(twice) == width(once) > 20
