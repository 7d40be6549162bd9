"""The runs of an evaluation, one after the other through the job itself."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import TextIO

from lab.evaluation.options import Settings
from lab.evaluation.study.runs import Run
from lab.evaluation.where import duration, job_of, sink_of
from pipeline.job.run import run_job
from pipeline.parts.sink import REPORT, Sink

__all__ = ["answer_all"]


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
        run_job(job_of(settings, run, source), started=started, out=io.StringIO(), log=log)
        took = time.monotonic() - started
        worked = _run_id(sink) != before
        if worked:
            spent.append(took)
        print(_line(number, len(runs), run, took if worked else None, spent), file=log, flush=True)


def _run_id(sink: Sink) -> str | None:
    """Of the run that reported last; None before the first."""
    report = sink.get_json(REPORT) or {}
    return report.get("run_id")


def _line(number: int, total: int, run: Run, took: float | None, spent: Sequence[float]) -> str:
    done = "there already" if took is None else f"took {duration(took)}"
    left = total - number
    rest = f", about {duration(left * sum(spent) / len(spent))} left" if left and spent else ""
    return f"run {number} of {total}: {run.label} {done}{rest}"
