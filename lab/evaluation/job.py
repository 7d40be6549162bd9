"""The runs of an evaluation, one after the other through the job itself."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from lab.evaluation.options import Settings
from lab.evaluation.study.runs import Run
from pipeline.job.run import run_job
from pipeline.parts.sink import REPORT, Sink
from pipeline.settings.config import InputConfig, JobConfig, OutputConfig, QuestionConfig

__all__ = ["answer_all", "data_url", "is_answered", "sink_of"]


def data_url(settings: Settings) -> str:
    """Where the questions are."""
    return f"{settings.evaluation.output.rstrip('/')}/data"


def sink_of(settings: Settings, run: Run) -> Sink:
    """Where the output of a run is."""
    return Sink(url=f"{settings.evaluation.output.rstrip('/')}/runs/{run.label}")


def is_answered(sink: Sink, num_questions: int) -> bool:
    """As far as the last report tells; a run that was stopped has none."""
    return (sink.get_json(REPORT) or {}).get("rows") == num_questions


def answer_all(settings: Settings, runs: Sequence[Run], source: str, log: TextIO) -> None:
    """Runs the job once for each of `runs`; what is stored already is not done again.

    Prints a line for each to `log`, with the time that the rest will take at this pace.

    Args:
        source: glob of the questions.

    Raises:
        JobError: as the job does, for instance where a run's folder holds other settings.
    """
    spent: list[float] = []
    for number, run in enumerate(runs, start=1):
        sink = sink_of(settings, run)
        before, started = _run_id(sink), time.monotonic()
        # The summary of each run would bury the table; it stays in the run's report.json.
        run_job(_job(settings, run, source), started=started, out=io.StringIO(), log=log)
        took = time.monotonic() - started
        worked = _run_id(sink) != before
        if worked:
            spent.append(took)
        print(_line(number, len(runs), run, took if worked else None, spent), file=log, flush=True)


def _job(settings: Settings, run: Run, source: str) -> JobConfig:
    return JobConfig(
        input=InputConfig(input=[source], input_root=data_url(settings)),
        # Lost questions score 0: the evaluation goes on, and is judged as a whole.
        output=OutputConfig(output=sink_of(settings, run).url, max_error_rate=1.0),
        question=QuestionConfig(question_column="question"),
        model=settings.model,
        reduction=run.reduction,
        generation=settings.generation,
        run=replace(settings.run, dry_run=False),
    )


def _run_id(sink: Sink) -> str | None:
    """Of the run that reported last; None before the first."""
    report = sink.get_json(REPORT) or {}
    return report.get("run_id")


def _line(number: int, total: int, run: Run, took: float | None, spent: Sequence[float]) -> str:
    done = "there already" if took is None else f"took {_duration(took)}"
    left = total - number
    rest = f", about {_duration(left * sum(spent) / len(spent))} left" if left and spent else ""
    return f"run {number} of {total}: {run.label} {done}{rest}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
