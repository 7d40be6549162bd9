"""An evaluation's questions, stored once as the job's input and read back for scoring."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lab.questions import BenchmarkImage, Question
from pipeline.rows.errors import ConfigError, InputError
from pipeline.storage.store import Store

__all__ = ["IMAGES_PER_SHARD", "AskedImage", "QuestionStore"]

IMAGES_PER_SHARD: Final = 128
_IMAGES_PER_GROUP: Final = 8
_MANIFEST: Final = "questions.json"
_TEXTS: Final = pa.list_(pa.string())
_SCHEMA: Final = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("question", _TEXTS),
        ("image_id", pa.string()),
        ("digest", pa.string()),
        ("question_id", _TEXTS),
        ("task", _TEXTS),
        ("answers", pa.list_(_TEXTS)),
        ("details", pa.list_(pa.map_(pa.string(), pa.string()))),
    ]
)


@dataclass(frozen=True, kw_only=True)
class AskedImage:
    """What was asked about one image.

    Attributes:
        row_ids: what the job calls each question, its `image_id`.
        digest: of the image's bytes: benchmarks come back to an image, under another name perhaps.
    """

    image_id: str
    digest: str
    questions: tuple[Question, ...]
    row_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class QuestionStore:
    """Parquet shards `questions-*.parquet` below `store`: an image and its questions to a row.

    A list of questions lets the job encode each image once. Rows are named by their place, so that
    no id of a benchmark can be unsafe or double as a key.
    """

    store: Store

    @property
    def glob(self) -> str:
        """What the job is given as its input."""
        return f"{self.store.url.rstrip('/')}/*.parquet"

    def ensure(
        self, setting: Mapping[str, Any], images: Callable[[], Iterable[BenchmarkImage]]
    ) -> dict[str, Any]:
        """Store the images unless they are there; returns what the manifest says.

        Raises:
            ConfigError: if questions of another setting are there.
            InputError: if there are no questions.
        """
        manifest = self.manifest()
        if manifest is None:
            manifest = {"setting": dict(setting)} | self._write(images())
            self.store.put_json(_MANIFEST, manifest)
        self.check(manifest, setting)
        return manifest

    def manifest(self) -> dict[str, Any] | None:
        """None before everything is stored: it is written last."""
        return self.store.get_json(_MANIFEST)

    def check(self, manifest: Mapping[str, Any], setting: Mapping[str, Any]) -> None:
        there = manifest["setting"]
        for key in sorted({*there, *setting}):
            if there.get(key) != setting.get(key):
                raise ConfigError(
                    f"{key}: the questions at --output are those of {there.get(key)!r}, not of "
                    f"{setting.get(key)!r}; give another --output"
                )

    def _write(self, images: Iterable[BenchmarkImage]) -> dict[str, int]:
        for name in self._shards():  # of an evaluation that was stopped while it wrote them
            self.store.remove(name)
        num_images = num_questions = 0
        rest = iter(images)
        for index in range(10**5):
            batch = list(islice(rest, IMAGES_PER_SHARD))
            if not batch:
                break
            self.store.put(f"questions-{index:05d}.parquet", _parquet(batch))
            num_images += len(batch)
            num_questions += sum(len(image.questions) for image in batch)
        if not num_questions:
            raise InputError("input: the benchmark holds no questions of these tasks")
        return {"images": num_images, "questions": num_questions}

    def asked(self) -> list[AskedImage]:
        """All images in their order, without their bytes."""
        columns = [name for name in _SCHEMA.names if name != "image"]
        return [
            AskedImage(
                image_id=row["image_id"],
                digest=row["digest"],
                questions=_questions(row),
                row_ids=tuple(f"{name}#{i}#q{k}" for k in range(len(row["question"]))),
            )
            for name, i, row in self._rows(columns)
        ]

    def images(self) -> Iterator[BenchmarkImage]:
        """All images in their order, one shard in memory at a time."""
        for _, _, row in self._rows(_SCHEMA.names):
            data = row["image"]["bytes"]
            yield BenchmarkImage(image_id=row["image_id"], data=data, questions=_questions(row))

    def _rows(self, columns: list[str]) -> Iterator[tuple[str, int, dict[str, Any]]]:
        for name in self._shards():
            with self.store.open(name) as file:
                table = pq.read_table(file, columns=columns)
            for index, row in enumerate(table.to_pylist()):
                yield name, index, row

    def _shards(self) -> list[str]:
        return [name for name in self.store.names("") if name.endswith(".parquet")]


def _parquet(images: Iterable[BenchmarkImage]) -> bytes:
    buffer = io.BytesIO()
    table = pa.Table.from_pylist([_row(image) for image in images], schema=_SCHEMA)
    # Images are compressed already.
    pq.write_table(table, buffer, row_group_size=_IMAGES_PER_GROUP, compression="none")
    return buffer.getvalue()


def _row(image: BenchmarkImage) -> dict[str, Any]:
    asked = image.questions
    return {
        "image": {"bytes": image.data, "path": image.image_id},
        "question": [question.text for question in asked],
        "image_id": image.image_id,
        "digest": hashlib.sha256(image.data).hexdigest(),
        "question_id": [question.question_id for question in asked],
        "task": [question.task for question in asked],
        "answers": [list(question.answers) for question in asked],
        "details": [list(question.details.items()) for question in asked],
    }


def _questions(row: Mapping[str, Any]) -> tuple[Question, ...]:
    columns = (row[name] for name in ("question_id", "task", "question", "answers", "details"))
    return tuple(
        Question(
            question_id=question_id,
            task=task,
            text=text,
            answers=tuple(answers),
            details=dict(details),
        )
        for question_id, task, text, answers, details in zip(*columns, strict=True)
    )
