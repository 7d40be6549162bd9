"""The page of an evaluation, from its per-sample Parquet and its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from hired_core.images.decode import ImageError
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.page.choose import KINDS, Chosen, choose
from lab.evaluation.page.examples import Answer, Example, named_run, run_of
from lab.evaluation.page.render import render_page
from lab.evaluation.page.trace import ImageTrace, Tracer

__all__ = ["page_from_evaluation"]

_COLUMNS: Final = [
    "method", "budget", "label", "task", "question_id", "image_id", "question", "answers",
    "prediction", "score", "visual_tokens_kept", "visual_tokens_dense",
]  # fmt: skip

Row = dict[str, Any]
Runs = Mapping[str, ReductionSettings]


def page_from_evaluation(
    folder: Path,
    tracer: Tracer,
    *,
    runs: Runs | None = None,
    each: int = 1,
    seed: int = 0,
    title: str = "Which visual tokens are kept, and what is answered",
) -> str:
    """HTML of a few questions of each task, with what every run kept and answered.

    Args:
        folder: holds samples.parquet, a row per question and run, and data/*.parquet with the
            images (`image.bytes`) by `image_id`, a row per image.
        tracer: of the model that was evaluated.
        runs: settings by `label`; only these runs are shown. Default: those of the rows' methods
            and budgets, all else as by default.
        each: questions per task and kind; see `choose`.

    Raises:
        ValueError: if two labels share a method and a budget, or if the model does not keep as many
            tokens of an image as its row says: then the settings or the model are others.
    """
    rows = pq.read_table(folder / "samples.parquet", columns=_COLUMNS).to_pylist()
    settings = _settings(rows) if runs is None else dict(runs)
    questions = _by_question([row for row in rows if row["label"] in settings])
    answers = [[_answer(row) for row in group] for group in questions]
    tasks = [group[0]["task"] for group in questions]
    chosen = choose(tasks, answers, each=each, seed=seed)
    images = _images(folder / "data", [questions[one.place][0]["image_id"] for one in chosen])
    made = [_example(questions[one.place], one, images, tracer, settings) for one in chosen]
    examples = [example for example in made if example is not None]
    return render_page(examples, title=title, notes=_notes(tracer, each, seed))


def _settings(rows: Sequence[Row]) -> dict[str, ReductionSettings]:
    labels = {row["label"]: (row["method"], row["budget"]) for row in rows}
    seen: dict[tuple[str, float], str] = {}
    for label, run in labels.items():
        other = seen.setdefault(named_run(*run), label)
        if other != label and run[1] != 1:
            raise ValueError(
                f"runs {other!r} and {label!r} are both {run[0]} at {run[1]:g}: name with `runs` "
                "which to show, and their settings"
            )
    return {
        label: ReductionSettings(method=method, budget=budget)
        for label, (method, budget) in labels.items()
    }


def _by_question(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of each question, in the order of the file."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["question_id"], []).append(row)
    return list(groups.values())


def _answer(row: Row) -> Answer:
    method, budget = named_run(row["method"], row["budget"])
    return Answer(method=method, budget=budget, prediction=row["prediction"], score=row["score"])


def _images(folder: Path, image_ids: Sequence[str]) -> dict[str, bytes]:
    """Encoded images by `image_id`; nothing else of the files is held."""
    wanted = ds.field("image_id").isin(pa.array(image_ids, pa.string()))
    files = ds.dataset(sorted(str(path) for path in folder.glob("*.parquet")))
    table = files.to_table(columns=["image_id", "image"], filter=wanted)
    found = {row["image_id"]: row["image"]["bytes"] for row in table.to_pylist()}
    missing = [name for name in image_ids if name not in found]
    if missing:
        raise ValueError(
            f"{folder} has no image {missing[0]!r}, one of {len(missing)} that are missing"
        )
    return found


def _example(
    rows: Sequence[Row], chosen: Chosen, images: Mapping[str, bytes], tracer: Tracer, runs: Runs
) -> Example | None:
    """None for an image that cannot be drawn, which every run has lost for that reason."""
    first = rows[0]
    try:
        trace = tracer(images[first["image_id"]], [runs[row["label"]] for row in rows])
    except ImageError:
        if any(row["prediction"] is not None for row in rows):
            raise
        return None
    _check(rows, trace)
    return Example(
        name=first["question_id"],
        task=chosen.task,
        question=first["question"],
        references=tuple(first["answers"]),
        answers=tuple(_answer(row) for row in rows),
        trace=trace,
        why=chosen.why,
    )


def _check(rows: Sequence[Row], trace: ImageTrace) -> None:
    """A picture of tokens that the run did not keep would be worse than none."""
    for row, selection in zip(rows, trace.selections, strict=True):
        if row["prediction"] is None:
            continue  # A lost row may have no counts.
        stored = (row["visual_tokens_kept"], row["visual_tokens_dense"])
        found = (selection.num_left, selection.num_dense)
        if stored != found:
            raise ValueError(
                f"{row['question_id']}, run {row['label']}: {stored[0]} of {stored[1]} visual "
                f"tokens were kept, but {run_of(selection)} keeps {found[0]} of {found[1]}: "
                "another model or other settings"
            )


def _notes(tracer: Tracer, each: int, seed: int) -> list[str]:
    kinds = "; ".join(KINDS.values())
    return [
        f"Model: {tracer.spec.name}, partitions of {tracer.spec.partition_size} pixels.",
        f"For each task, up to {each} of each kind of question, drawn at random with seed {seed}: "
        f"{kinds}. A question is shown once. They are no fair sample: accuracy is in the table.",
    ]
