"""Runs are stored chunk by chunk, and a stopped one goes on where it stopped."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.evaluation.direct import run as direct
from lab.evaluation.options import Settings, parse_evaluation
from lab.evaluation.results.answers import read_answers
from lab.evaluation.store import QuestionStore
from lab.evaluation.study.runs import Run, runs_of
from lab.evaluation.study.study import studies_of
from lab.evaluation.where import data_url, is_answered, sink_of
from lab.questions import BenchmarkImage
from pipeline.rows.errors import ConfigError
from pipeline.storage.store import Store
from tests.unit.lab.evaluation.direct.test_answering import PROMPTS, SIZES, image

IMAGES = [image(size, *PROMPTS) for size in SIZES]


def settings_of(folder: Path, model: Path, *flags: str) -> Settings:
    fixed = ("--output", str(folder), "--model", str(model), "--max-new-tokens", "4")
    return parse_evaluation([*fixed, "--methods", "hired,fastv", "--budgets", "0.2", *flags])


def answer(settings: Settings) -> tuple[tuple[Run, ...], QuestionStore, str]:
    questions = QuestionStore(store=Store(url=data_url(settings)))
    questions.ensure({"seed": 0}, lambda: iter(IMAGES))
    runs, log = runs_of(studies_of(settings, {})[0].variants), io.StringIO()
    direct.answer_all(settings, runs, questions, log, images_at_once=2)
    return runs, questions, log.getvalue()


def times(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.glob("direct/*/captions/*")}


def test_what_is_missing_is_answered_and_nothing_else(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    settings = settings_of(tmp_path, small_checkpoint)
    runs, questions, log = answer(settings)
    asked = questions.asked()
    assert "images 2 of 3: 8 of 12 answers" in log and "images 3 of 3: 12 of 12" in log
    before = [read_answers(sink_of(settings, run), asked) for run in runs]
    assert len(times(tmp_path)) == 4 and all(len(found) == 6 for found in before)
    (tmp_path / "direct/fastv-0.2/report.json").unlink()
    gone = next(tmp_path.glob("direct/fastv-0.2/captions/part-000000-*"))
    gone.unlink()
    kept = times(tmp_path)
    _, _, log = answer(settings)
    assert "hired-0.2: there already" in log and "images 2 of 3: 4 of 4 answers" in log
    assert kept.items() < times(tmp_path).items() and str(gone) in times(tmp_path)
    assert [read_answers(sink_of(settings, run), asked) for run in runs] == before
    assert all(is_answered(sink_of(settings, run), 6) for run in runs)


def test_answers_of_other_settings_are_refused(tmp_path: Path, small_checkpoint: Path) -> None:
    answer(settings_of(tmp_path, small_checkpoint))
    before = times(tmp_path)
    with pytest.raises(ConfigError, match="max_new_tokens was 4, now 5"):
        answer(settings_of(tmp_path, small_checkpoint, "--max-new-tokens", "5"))
    assert times(tmp_path) == before


def test_what_does_not_fit_is_refused_before_anything_is_answered(
    tmp_path: Path, small_checkpoint: Path
) -> None:
    with pytest.raises(ConfigError, match="memory_limit_gib"):
        answer(settings_of(tmp_path, small_checkpoint, "--memory-limit-gib", "0.0001"))
    assert not times(tmp_path)


def test_a_stop_between_chunks_loses_no_chunk(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, small_checkpoint)

    def stopped(images: list[BenchmarkImage]) -> Iterator[BenchmarkImage]:
        yield from images[:2]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(QuestionStore, "images", lambda self: stopped(IMAGES))
        with pytest.raises(KeyboardInterrupt):
            answer(settings)
    assert len(times(tmp_path)) == 2
    _, questions, log = answer(settings)
    assert "images 3 of 3: 4 of 4 answers" in log
    assert len(read_answers(sink_of(settings, answer(settings)[0][0]), questions.asked())) == 6
