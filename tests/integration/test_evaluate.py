"""An evaluation of the shipped model through the real job."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lab.evaluation.command import main
from lab.evaluation.scoring.metric import Answered
from lab.evaluation.scoring.registry import metrics_of
from lab.questions import BenchmarkImage, Question
from tests.support.scene_benchmark import TASKS, scene_benchmark, scenes

NUM_IMAGES, BROKEN = 24, 5
FLAGS = ("--methods", "hired", "--budgets", "0.2,1", "--max-new-tokens", "8", "--no-progress")
JOB = ("--runner", "job")


def evaluate(output: Path, *flags: str) -> int:
    benchmark = partial(scene_benchmark, broken=(BROKEN,), num_images=NUM_IMAGES)
    return main(["--output", str(output), *FLAGS, *JOB, *flags], benchmark)


def parts(output: Path) -> dict[str, int]:
    """Everything that runs have stored, with its time of writing."""
    return {str(p): p.stat().st_mtime_ns for p in output.glob("runs/*/**/*") if p.is_file()}


@pytest.fixture(scope="module")
def done(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("evaluation")
    assert evaluate(output) == 0
    return output


def results(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "results.json").read_text())
    return found


def samples(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output / "samples.parquet").to_pylist()
    return rows


def asked() -> list[BenchmarkImage]:
    return list(scenes(NUM_IMAGES, seed=0))


def test_every_question_has_a_sample_of_every_run(done: Path) -> None:
    wanted = {
        (label, image.image_id, question.question_id, question.text)
        for label in ("hired-0.2", "dense")
        for image in asked()
        for question in image.questions
    }
    rows = samples(done)
    found = [(r["label"], r["image_id"], r["question_id"], r["question"]) for r in rows]
    assert len(found) == len(wanted) == len(set(found))
    assert set(found) == wanted


def test_scores_are_those_of_the_predictions(done: Path) -> None:
    """Recomputed from the samples' own columns; and the model is no guesser."""
    rows = samples(done)
    for row in rows:
        question = Question(
            question_id=row["question_id"],
            task=row["task"],
            text=row["question"],
            answers=tuple(row["answers"]),
        )
        given = Answered(question=question, prediction=row["prediction"])
        assert row["score"] == metrics_of(row["task"])[0].score(given)
    dense = [r["score"] for r in rows if r["label"] == "dense" and r["task"] == "attribute"]
    assert sum(dense) / len(dense) > 0.5


def test_broken_image_is_quarantined_and_scores_nothing(done: Path) -> None:
    broken = asked()[BROKEN]
    lost = [row for row in samples(done) if row["prediction"] is None]
    ids = {question.question_id for question in broken.questions}
    assert {row["question_id"] for row in lost} == ids
    assert {row["error_code"] for row in lost} == {"image_truncated"}
    assert {row["score"] for row in lost} == {0.0}
    for variant in results(done)["variants"]:
        assert variant["quarantined"] == len(ids)


def test_values_are_means_of_the_samples(done: Path) -> None:
    """Of exact match, which adds up; the average is that of the tasks."""
    rows = samples(done)
    figures = {(f["label"], f["task"]): f for f in results(done)["figures"] if f["primary"]}
    for label in ("hired-0.2", "dense"):
        for task in ("attribute", "count", "scene_text"):
            scores = [r["score"] for r in rows if (r["label"], r["task"]) == (label, task)]
            figure = figures[label, task]
            assert figure["value"] == pytest.approx(100 * sum(scores) / len(scores))
            assert figure["low"] <= figure["value"] <= figure["high"]
        of_tasks = [figures[label, task]["value"] for task in TASKS]
        average = figures[label, "average"]
        assert average["value"] == pytest.approx(sum(of_tasks) / len(TASKS))
    minus = figures["hired-0.2", "average"]["minus"]
    assert set(minus) == {"dense"}
    change = figures["hired-0.2", "average"]["value"] - figures["dense", "average"]["value"]
    assert minus["dense"]["value"] == pytest.approx(change)


def test_tokens_and_speed_are_those_of_the_runs(done: Path) -> None:
    variants = {v["label"]: v for v in results(done)["variants"]}
    hired, dense = variants["hired-0.2"], variants["dense"]
    for variant in (hired, dense):
        kept = [r for r in samples(done) if r["label"] == variant["label"] and r["prediction"]]
        tokens = [row["visual_tokens_kept"] for row in kept]
        assert variant["visual_tokens_kept"] == pytest.approx(sum(tokens) / len(tokens))
        assert variant["images_per_sec"] > variant["images_per_sec_with_start"] > 0
    assert hired["visual_tokens_kept"] == 144  # 0.2 of 5 partitions of 144 patches
    assert dense["visual_tokens_kept"] == dense["visual_tokens_dense"] > 288
    assert hired["fingerprint"] != dense["fingerprint"]


def test_page_and_pictures(done: Path) -> None:
    page = (done / "results.md").read_text()
    assert "| hired-0.2 |" in page and "| dense |" in page
    picture = (done / "accuracy.svg").read_text()
    assert all(task in picture for task in TASKS) and "hired" in picture
    assert (done / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    examples = (done / "page.html").read_text()
    assert "hired" in examples and "What does the sign say?" in examples


def test_the_direct_way_answers_as_the_job_does(done: Path, tmp_path: Path) -> None:
    """Texts, error codes and tokens of every question, the broken image's among them."""
    assert evaluate(tmp_path, "--runner", "direct", "--timed-images", "3") == 0
    assert samples(tmp_path) == samples(done)
    both = [{v["label"]: v for v in results(folder)["variants"]} for folder in (tmp_path, done)]
    for label, direct in both[0].items():
        assert direct["fingerprint"] == both[1][label]["fingerprint"]
        same = ("visual_tokens_seen", "kv_bytes_per_image", "quarantined")
        assert [direct[key] for key in same] == [both[1][label][key] for key in same]
        assert len(direct["timed"]["seconds"]) == 1 and direct["timed"]["images_per_sec"] > 0
        assert direct["images_per_sec"] is None and both[1][label]["timed"] is None
    assert results(tmp_path)["figures"] == results(done)["figures"]
    # 144 visual tokens, a key and a value of 256 float32 each in 4 layers; no row ends.
    assert both[0]["hired-0.2"]["kv_bytes_per_image"] == 144 * 2 * 256 * 4 * 4
    assert (tmp_path / "speed.svg").exists()
    before = (tmp_path / "timing.json").read_bytes()
    assert evaluate(tmp_path, "--runner", "direct") == 0
    assert (tmp_path / "timing.json").read_bytes() == before
    assert results(tmp_path)["variants"][0]["timed"] == both[0]["hired-0.2"]["timed"]


def test_rerun_does_nothing_and_more_budgets_only_what_is_missing(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, table = parts(done), results(done)["figures"]
    assert evaluate(done) == 0
    assert parts(done) == before
    assert results(done)["figures"] == table
    assert capsys.readouterr().err.count("there already") == 2
    assert evaluate(done, "--budgets", "0.1,0.2,1") == 0
    new = {path for path in parts(done) if path not in before}
    assert {path: at for path, at in parts(done).items() if path in before} == before
    assert new and all("runs/hired-0.1/" in path for path in new)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--seed", "1"), "seed: the questions at --output are those of 0, not of 1"),
        (("--max-new-tokens", "9"), "max_new_tokens"),
    ],
)
def test_other_settings_are_refused(
    done: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    before = parts(done)
    assert evaluate(done, *flags) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and message in error
    assert parts(done) == before


def test_dry_run_tells_what_there_is_and_does_nothing(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = parts(done)
    assert evaluate(done, "--dry-run", "--budgets", "0.2,0.4,1") == 0
    told = capsys.readouterr().out
    assert "hired-0.2: there already" in told and "hired-0.4: to do" in told
    assert f"{NUM_IMAGES} images" in told
    assert parts(done) == before


def test_too_many_lost_questions_end_with_3(done: Path) -> None:
    assert evaluate(done, "--max-error-rate", "0.01") == 3
    assert (done / "results.json").exists()
