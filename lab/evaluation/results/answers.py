"""What a run answered, how well, and how fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lab.evaluation.scoring.metric import Answered
from lab.evaluation.scoring.registry import metrics_of
from lab.evaluation.store import AskedImage
from lab.questions import Question
from pipeline.parts.sink import REPORT, Sink
from pipeline.rows.errors import StorageError

__all__ = ["SAMPLES_SCHEMA", "Answer", "Speed", "read_answers", "sample_table", "speed_of"]

_COLUMNS: Final = [
    "image_id", "text", "visual_tokens_kept", "visual_tokens_dense", "prompt_tokens",
]  # fmt: skip

SAMPLES_SCHEMA: Final = pa.schema(
    [
        ("method", pa.string()),
        ("budget", pa.float64()),
        ("label", pa.string()),
        ("task", pa.string()),
        ("question_id", pa.string()),
        ("image_id", pa.string()),
        ("question", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("prediction", pa.string()),
        ("error_code", pa.string()),
        ("metric", pa.string()),
        ("score", pa.float64()),
        ("visual_tokens_kept", pa.int32()),
        ("visual_tokens_dense", pa.int32()),
    ]
)
"""One row for each question and variant. `prediction` is null where the row was quarantined, with
`error_code`; `score` is by the task's first metric."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """To one question; `text` is None where `error_code` is not.

    Attributes:
        visual_tokens_kept: behind the language model's last layer.
        prompt_tokens: text, visual tokens and newlines that the language model was given.
    """

    text: str | None
    error_code: str | None = None
    visual_tokens_kept: int | None = None
    visual_tokens_dense: int | None = None
    prompt_tokens: int | None = None


def read_answers(sink: Sink, asked: Iterable[AskedImage]) -> dict[str, Answer]:
    """Answers of a run by row id.

    Raises:
        StorageError: unless there is one for every question.
    """
    found = {}
    for table in sink.read("captions", _COLUMNS):
        for row_id, *told in zip(*table.to_pydict().values(), strict=True):
            text, kept, dense, prompt = told
            found[row_id] = Answer(
                text=text,
                visual_tokens_kept=kept,
                visual_tokens_dense=dense,
                prompt_tokens=prompt,
            )
    for table in sink.read("quarantine", ["image_id", "error_code"]):
        for row_id, code in zip(*table.to_pydict().values(), strict=True):
            found[row_id] = Answer(text=None, error_code=code)
    missing = [row_id for image in asked for row_id in image.row_ids if row_id not in found]
    if missing:
        raise StorageError(
            f"{sink.url} has no answer to {len(missing)} questions, {missing[0]} among them; "
            "delete it and run again"
        )
    return found


def sample_table(
    asked: Iterable[AskedImage], answers: Mapping[str, Answer], named: Mapping[str, Any]
) -> pa.Table:
    """Of `SAMPLES_SCHEMA`; `named` are its first three columns."""
    rows = [
        dict(named) | _sample(image.image_id, question, answers[row_id])
        for image in asked
        for question, row_id in zip(image.questions, image.row_ids, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=SAMPLES_SCHEMA)


def _sample(image_id: str, question: Question, answer: Answer) -> dict[str, Any]:
    metric = metrics_of(question.task)[0]
    return {
        "task": question.task,
        "question_id": question.question_id,
        "image_id": image_id,
        "question": question.text,
        "answers": list(question.answers),
        "prediction": answer.text,
        "error_code": answer.error_code,
        "metric": metric.name,
        "score": metric.score(Answered(question=question, prediction=answer.text)),
        "visual_tokens_kept": answer.visual_tokens_kept,
        "visual_tokens_dense": answer.visual_tokens_dense,
    }


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images per second of a run.

    Attributes:
        running: from the first batch of the vision tower to the last of the language model: the
            start of actors and the loading of weights are left out. None if it answered nothing.
        with_start: from the job's report: everything but the start of Ray. None if the last run
            had only to find that all was done.
    """

    running: float | None
    with_start: float | None


def speed_of(sink: Sink) -> Speed:
    """From what the job stored; of a run that was interrupted, `running` is of all its parts."""
    spans: dict[str, list[float]] = {}
    images = 0
    columns = ["run_id", "stage", "started_at", "wall_sec", "num_images"]
    for table in sink.read("stats", columns):
        is_vision = pc.equal(table["stage"], "select")
        images += pc.sum(table.filter(is_vision)["num_images"]).as_py() or 0
        model = table.filter(pc.or_(is_vision, pc.equal(table["stage"], "generate")))
        for run_id, _, start, wall, _ in zip(*model.to_pydict().values(), strict=True):
            span = spans.setdefault(run_id, [start, start + wall])
            span[:] = min(span[0], start), max(span[1], start + wall)
    seconds = sum(end - start for start, end in spans.values())
    report = sink.get_json(REPORT) or {}
    return Speed(
        running=images / seconds if images and seconds else None,
        with_start=report.get("images_per_sec"),
    )


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
