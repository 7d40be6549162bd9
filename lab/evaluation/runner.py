"""An evaluation from settings to table and picture."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from lab.evaluation.benchmarks import Benchmark
from lab.evaluation.options import Settings
from lab.evaluation.page.evaluation import page_from_evaluation
from lab.evaluation.page.trace import Tracer
from lab.evaluation.results.overview import methods_picture, speed_picture
from lab.evaluation.results.plot import plot
from lab.evaluation.results.results import build_results, kept_images
from lab.evaluation.results.styles import MOST_COLOURS, styles_of
from lab.evaluation.results.table import markdown, notes, tables
from lab.evaluation.store import QuestionStore
from lab.evaluation.study.runs import DENSE, Run, runs_of
from lab.evaluation.study.study import GRID, Ablation, Study, studies_of
from lab.evaluation.where import data_url, is_answered, sink_of
from pipeline.job.resolve import load_spec
from pipeline.rows.errors import EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS
from pipeline.storage.store import Store

__all__ = ["describe", "evaluate", "run"]


def run(settings: Settings, benchmark: Benchmark) -> int:
    """Evaluate or describe; returns the exit code.

    Raises:
        JobError: with its exit code and one line on what went wrong.
    """
    studies = studies_of(settings, _ablations() if settings.evaluation.ablation else {})
    load_spec(settings.model)  # Before thousands of images are drawn for it.
    if settings.run.dry_run:
        for study in studies:
            print(describe(settings, study, benchmark))
        return EXIT_DONE
    return max(
        evaluate(settings, study, benchmark, out=sys.stdout, log=sys.stderr) for study in studies
    )


def _ablations() -> Mapping[str, Ablation]:
    from lab.evaluation.study.ablations import STUDIES

    return STUDIES


def evaluate(
    settings: Settings, study: Study, benchmark: Benchmark, *, out: TextIO, log: TextIO
) -> int:
    """Ask everything that is not answered yet, then measure; returns the exit code.

    Writes results and samples to the output, and prints the tables to `out`, progress to `log`.

    Raises:
        JobError: with its exit code and one line on what went wrong.
    """
    store, questions = Store(url=settings.evaluation.output), _questions(settings)
    manifest = questions.ensure(benchmark.setting, benchmark.images)
    asked = f"{manifest['questions']:,} questions about {manifest['images']:,} images"
    kept_images(study, questions.asked())  # Before hours of work for images that are not there.
    print(f"{benchmark.name}: {asked} of tasks {', '.join(benchmark.tasks)}", file=log, flush=True)
    _answer_all(settings, runs_of(study.variants), questions, log)
    timing = _time_all(settings, runs_of(study.variants), questions, log)
    results = build_results(settings, study, benchmark.tasks, questions, store, timing)
    _write(store, study, results)
    _write_page(settings, study, store, results, log)
    found = "\n\n".join(table.text() for table in tables(results))
    print(f"{found}\n\n{notes(results)}", file=out)
    return _exit_code(results, settings.evaluation.max_error_rate, log)


def _answer_all(
    settings: Settings, runs: Sequence[Run], questions: QuestionStore, log: TextIO
) -> None:
    """Each way imports what it runs: the direct one needs no Ray, the job no weights here."""
    if settings.evaluation.runner == "direct":
        from lab.evaluation.direct.run import answer_all

        answer_all(settings, runs, questions, log)
        return
    from lab.evaluation import job
    from pipeline.job.session import connect

    connect()
    job.answer_all(settings, runs, questions.glob, log)


def _time_all(
    settings: Settings, runs: Sequence[Run], questions: QuestionStore, log: TextIO
) -> dict[str, Any] | None:
    from lab.evaluation.direct.timed import time_all

    return time_all(settings, runs, questions, Store(url=settings.evaluation.output), log)


def describe(settings: Settings, study: Study, benchmark: Benchmark) -> str:
    """The runs, and of each whether it is to be done. Changes nothing."""
    questions = _questions(settings)
    manifest = questions.manifest()
    if manifest is not None:
        questions.check(manifest, benchmark.setting)
        asked = f"{manifest['questions']:,} questions about {manifest['images']:,} images, stored"
    else:
        wanted = settings.evaluation.num_samples or benchmark.setting["num_samples"]
        asked = f"{wanted:,} images, to be stored" if wanted else "all images of the input"
    runs = runs_of(study.variants)
    lines = [
        f"{benchmark.name}: {asked}; tasks {', '.join(benchmark.tasks)}",
        f"{len(runs)} runs, each with all of them:",
    ]
    for run in runs:
        number = -1 if manifest is None else manifest["questions"]
        done = is_answered(sink_of(settings, run), number)
        lines.append(f"  {run.label}: {'there already' if done else 'to do'}")
    return "\n".join(lines)


def _questions(settings: Settings) -> QuestionStore:
    return QuestionStore(store=Store(url=data_url(settings)))


def _write(store: Store, study: Study, results: Mapping[str, Any]) -> None:
    store.put_json(f"{study.name}.json", results)
    store.put(f"{study.name}.md", markdown(results).encode())
    if study.curve is not None:
        name = "accuracy" if study.name == GRID else study.name
        for kind in ("svg", "png"):
            store.put(f"{name}.{kind}", plot(results, kind, study.curve))
    if study.name == GRID:
        _write_overviews(store, results)


def _write_overviews(store: Store, results: Mapping[str, Any]) -> None:
    """Accuracy against time where that was measured, and a panel a method where they are many."""
    many = len(styles_of(results)) > MOST_COLOURS
    for kind in ("svg", "png"):
        speed = speed_picture(results, kind)
        if speed is not None:
            store.put(f"speed.{kind}", speed)
        if many:
            store.put(f"methods.{kind}", methods_picture(results, kind))


def _write_page(
    settings: Settings, study: Study, store: Store, results: Mapping[str, Any], log: TextIO
) -> None:
    """The page of kept tokens: of the leading methods, where the output is a folder."""
    output = settings.evaluation.output
    if study.name != GRID:
        return
    if "://" in output:
        print("page.html is left out: it is made of files, and --output is a URL", file=log)
        return
    leading = {name for name, style in styles_of(results).items() if style.leads} | {DENSE}
    every = {run.label: run.reduction for run in runs_of(study.variants)}
    runs = {label: each for label, each in every.items() if each.effective_method in leading}
    if len(runs) < len(every):
        print(f"page.html shows {', '.join(sorted(leading))}, and no others", file=log)
    chosen = settings.model
    tracer = Tracer.load(
        chosen.model, image_options=chosen.image_options, quantized=chosen.quantize_vision
    )
    store.put("page.html", page_from_evaluation(Path(output), tracer, runs=runs).encode())


def _exit_code(results: Mapping[str, Any], max_error_rate: float, log: TextIO) -> int:
    code = EXIT_DONE
    for variant in results["variants"]:
        rate = variant["quarantined"] / max(1, variant["questions"])
        if rate > max_error_rate:
            lost = f"{variant['label']}: {rate:.1%} of the questions are in quarantine"
            print(f"{lost}, over --max-error-rate", file=log)
            code = EXIT_TOO_MANY_BAD_ROWS
    return code
