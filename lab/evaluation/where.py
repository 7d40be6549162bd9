"""Where an evaluation's questions and runs are, where it runs, and each run as a job."""

from __future__ import annotations

from dataclasses import replace

import torch

from lab.evaluation.options import Settings
from lab.evaluation.study.runs import Run
from pipeline.parts.sink import REPORT, Sink
from pipeline.settings.config import InputConfig, JobConfig, OutputConfig, QuestionConfig

__all__ = ["data_url", "default_device", "duration", "is_answered", "job_of", "sink_of"]


def data_url(settings: Settings) -> str:
    """Where the questions are."""
    return f"{settings.evaluation.output.rstrip('/')}/data"


def sink_of(settings: Settings, run: Run) -> Sink:
    """Where the answers of a run are; of each runner apart, since the job keeps a ledger."""
    folder = "runs" if settings.evaluation.runner == "job" else "direct"
    return Sink(url=f"{settings.evaluation.output.rstrip('/')}/{folder}/{run.label}")


def is_answered(sink: Sink, num_questions: int) -> bool:
    """As far as the last report tells; a run that was stopped has none."""
    return (sink.get_json(REPORT) or {}).get("rows") == num_questions


def job_of(settings: Settings, run: Run, source: str) -> JobConfig:
    """The settings of the job that answers `source`, a glob of the questions, under a run."""
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


def duration(seconds: float) -> str:
    """ "3 h 5 min", "2 min 4 s" or "40 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def default_device() -> torch.device:
    """Of the direct way: a GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
