"""The runs of an evaluation, all at once and stored as they come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TextIO

import pyarrow as pa
import torch

from hired_core.backends.base import MemoryLimitError, UnsupportedError
from hired_core.errors import SettingError
from hired_core.models.checkpoint import CheckpointError
from hired_core.vlm.device import compute_dtype
from lab.evaluation.direct.answering import CHUNK, Answerer
from lab.evaluation.direct.loaded import LoadedModel, Room
from lab.evaluation.direct.together import chunks
from lab.evaluation.options import Settings
from lab.evaluation.results.answers import Answer
from lab.evaluation.store import AskedImage, QuestionStore
from lab.evaluation.study.runs import Run
from lab.evaluation.where import default_device, duration, is_answered, job_of, sink_of
from lab.questions import BenchmarkImage
from pipeline.job.resolve import load_spec
from pipeline.ledger.identity import Identity, check_same, load_identity
from pipeline.parts.sink import REPORT, Sink
from pipeline.rows.errors import ConfigError, ModelError
from pipeline.settings.fingerprint import fingerprint, fingerprint_fields

__all__ = ["answer_all", "load_model", "room_of"]

_ANSWERS: Final = pa.schema(
    [
        ("image_id", pa.string()),
        ("text", pa.string()),
        ("visual_tokens_kept", pa.int32()),
        ("visual_tokens_dense", pa.int32()),
        ("prompt_tokens", pa.int32()),
    ]
)
_LOST: Final = pa.schema([("image_id", pa.string()), ("error_code", pa.string())])


def answer_all(
    settings: Settings,
    runs: Sequence[Run],
    questions: QuestionStore,
    log: TextIO,
    *,
    images_at_once: int = CHUNK,
) -> None:
    """Answers every question under each of `runs`; what is stored already is not done again.

    Prints a line for each chunk of images to `log`, with the time that the rest will take.

    Raises:
        ConfigError: where a run's folder holds other settings, or one cannot run.
        ModelError: if the checkpoint cannot be used.
    """
    asked = questions.asked()
    total = sum(len(image.row_ids) for image in asked)
    sinks = {run.label: sink_of(settings, run) for run in runs}
    left = [run for run in runs if not is_answered(sinks[run.label], total)]
    for run in runs:
        if run not in left:
            print(f"{run.label}: there already", file=log)
    if settings.run.torch_threads is not None:
        torch.set_num_threads(settings.run.torch_threads)
    prints = {run.label: _claim(settings, run, questions.glob) for run in runs}
    if not left:
        return
    answerer = make_answerer(settings, left, load_model(settings))
    steps = _plan({run.label: sinks[run.label] for run in left}, asked, images_at_once)
    _answer(answerer, steps, chunks(questions.images(), images_at_once), log)
    for run in left:
        report = {"rows": total, "runner": "direct", "fingerprint": prints[run.label]}
        sinks[run.label].put_json(REPORT, report)


def load_model(settings: Settings) -> LoadedModel:
    """The weights of both halves.

    Raises:
        ModelError: if the checkpoint cannot be used.
    """
    chosen = settings.model
    try:
        return LoadedModel.load(
            chosen.model,
            chosen.revision,
            dtype=chosen.dtype,
            image_options=chosen.image_options,
            quantization=chosen.quantization,
        )
    except SettingError:
        raise  # It names the setting itself.
    except (CheckpointError, OSError, ValueError) as exc:
        raise ModelError(f"model: {exc}") from exc


def room_of(settings: Settings) -> Room:
    """What the settings of a run leave for generating."""
    run = settings.run
    return Room(
        text_positions=run.max_prompt_tokens,
        memory_limit_gib=run.memory_limit_gib,
        slots=run.max_slots,
        backend=run.backend,
        batch_size=run.batch_size,
    )


def make_answerer(settings: Settings, runs: Sequence[Run], model: LoadedModel) -> Answerer:
    """Of all the runs.

    Raises:
        ConfigError: if one does not fit the memory, or the decoder cannot do what it asks.
    """
    chosen = {run.label: run.reduction for run in runs}
    try:
        return Answerer(model, chosen, settings.generation, room_of(settings))
    except MemoryLimitError as exc:
        raise ConfigError(f"memory_limit_gib: {exc}") from exc
    except UnsupportedError as exc:
        raise ConfigError(f"backend: {exc}") from exc
    except ValueError as exc:
        raise ConfigError(f"method: {exc}") from exc


def identity_of(settings: Settings, run: Run, source: str) -> Identity:
    """What the answers of a run depend on; the same as of the job."""
    spec, chosen = load_spec(settings.model), settings.model.dtype
    dtype = str(compute_dtype(chosen, spec.stored_dtype, default_device()))
    job = job_of(settings, run, source)
    fields = fingerprint_fields(job, spec, dtype.removeprefix("torch."))
    return Identity(fingerprint=fingerprint(fields), fields=fields, input_root=None)


def _claim(settings: Settings, run: Run, source: str) -> str:
    """Marks the folder as that of these settings and refuses one of others; the fingerprint."""
    here, sink = identity_of(settings, run, source), sink_of(settings, run)
    there = load_identity(sink)
    if there is None:
        here.save(sink)
    else:
        check_same(there, here)
    return here.fingerprint


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A chunk of images: the file that it becomes, and in which runs that is missing, by label."""

    part: str
    asked: list[AskedImage]
    missing: dict[str, Sink]

    @property
    def num_answers(self) -> int:
        return len(self.missing) * sum(len(image.row_ids) for image in self.asked)


def _plan(sinks: Mapping[str, Sink], asked: Sequence[AskedImage], size: int) -> list[_Step]:
    there = {label: set(sink.parts("captions")) for label, sink in sinks.items()}
    found, done = [], 0
    for chunk in chunks(asked, size):
        part = f"part-{done:06d}-{done + len(chunk):06d}.parquet"
        lacking = [label for label, parts in there.items() if f"captions/{part}" not in parts]
        missing = {label: sinks[label] for label in lacking}
        found.append(_Step(part=part, asked=chunk, missing=missing))
        done += len(chunk)
    return found


def _answer(
    answerer: Answerer, steps: Sequence[_Step], images: Iterable[list[BenchmarkImage]], log: TextIO
) -> None:
    wanted, began = sum(step.num_answers for step in steps), time.monotonic()
    seen, of_images, answered = 0, sum(len(step.asked) for step in steps), 0
    for chunk, step in zip(images, steps, strict=True):
        seen += len(chunk)
        if not step.missing:
            continue
        for label, answers in answerer(chunk, step.missing).items():
            _store(step.missing[label], step.part, step.asked, answers)
        answered += step.num_answers
        line = _line(answered, wanted, time.monotonic() - began)
        print(f"images {seen:,} of {of_images:,}: {line}", file=log, flush=True)


def _store(
    sink: Sink, part: str, asked: Sequence[AskedImage], answers: Sequence[Sequence[Answer]]
) -> None:
    """What is lost first: once the answers are there, the chunk counts as done."""
    rows = [
        (row_id, answer)
        for image, given in zip(asked, answers, strict=True)
        for row_id, answer in zip(image.row_ids, given, strict=True)
    ]
    lost = [(name, one) for name, one in rows if one.text is None]
    if lost:
        sink.write(f"quarantine/{part}", _table(lost, _LOST), {"images": len(asked)})
    said = [(name, one) for name, one in rows if one.text is not None]
    sink.write(f"captions/{part}", _table(said, _ANSWERS), {"images": len(asked)})


def _table(rows: Sequence[tuple[str, Answer]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([{"image_id": name} | vars(one) for name, one in rows], schema)


def _line(answered: int, wanted: int, spent: float) -> str:
    pace, left = answered / max(spent, 1e-9), wanted - answered
    rest = f", about {duration(left / pace)} left" if left else f" in {duration(spent)}"
    return f"{answered:,} of {wanted:,} answers, {pace:.1f}/s{rest}"
