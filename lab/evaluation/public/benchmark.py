"""What a public benchmark is to a reader, and one pass over its files.

A `Benchmark` says which columns there are and how a row is asked; a `Reading` makes of the rows
images with their questions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from lab.evaluation.public.cells import Row, image_bytes, text_in
from lab.evaluation.public.parquet import columns_of, rows_of
from lab.questions import BenchmarkImage, Question
from pipeline.rows.errors import InputError

__all__ = ["Benchmark", "Reading"]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """How the files of one benchmark are read.

    Attributes:
        name: also the task of its questions, which names the metrics.
        description: one line for people.
        columns: what a file has to have, "image" among it.
        details: columns that are copied to a question's details where a file has them.
        aliases: what other repositories call a column: their name -> ours.
        image_id: rows in sequence that agree in it ask about the same image.
        prompt: what the model is asked.
        answers: the references.
    """

    name: str
    description: str
    columns: tuple[str, ...]
    details: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    image_id: Callable[[Row], str]
    prompt: Callable[[Row], str]
    answers: Callable[[Row], tuple[str, ...]]

    def reader(self, paths: Sequence[Path | str]) -> Reading:
        """The images of Parquet files and what is asked about them, and counts of what was read.

        Raises:
            InputError: no files, a file that is no Parquet, or one that lacks a column.
        """
        if not paths:
            raise InputError(f"{self.name}: no files to read")
        files = tuple((Path(path), self._columns_to_read(Path(path))) for path in paths)
        return Reading(self, files)

    def _columns_to_read(self, path: Path) -> dict[str, str]:
        """The file's name of each column that is wanted -> ours."""
        there = columns_of(path)
        ours = {name: self.aliases.get(name, name) for name in there}
        if missing := [name for name in self.columns if name not in ours.values()]:
            raise InputError(
                f"{self.name}: {path} lacks {', '.join(missing)}; it has {', '.join(there)}"
            )
        wanted = {*self.columns, *self.details}
        return {name: column for name, column in ours.items() if column in wanted}


class _Asked(NamedTuple):
    """A row that has an image."""

    image_id: str
    data: bytes
    prompt: str
    answers: tuple[str, ...]
    details: dict[str, str]


class Reading:
    """Images of a benchmark, and how many there were of what.

    Rows in sequence about one image become one image with several questions. Where an image comes
    back later, among other rows, it is another image, "name#2": rows are not held back for it.
    Question ids are the image's with a number; an id of the benchmark's own is in the details.

    Attributes:
        num_rows: rows read so far by the latest pass.
        num_without_image: rows left out, because they have no image.
        num_images: images given.
        num_questions: questions given.
    """

    def __init__(self, benchmark: Benchmark, files: tuple[tuple[Path, dict[str, str]], ...]):
        """`files`: each with its columns to be read, and their names here."""
        self._benchmark = benchmark
        self._files = files
        self._reset()

    def __iter__(self) -> Iterator[BenchmarkImage]:
        """The images in the order of the files.

        Raises:
            InputError: a file is damaged, or a row has no question or no answer.
        """
        self._reset()
        num_seen: Counter[str] = Counter()
        for name, rows in groupby(self._asked(), key=lambda row: row.image_id):
            num_seen[name] += 1
            image_id = name if num_seen[name] == 1 else f"{name}#{num_seen[name]}"
            yield self._image(image_id, list(rows))

    @property
    def summary(self) -> str:
        """One line: how much was read, and what was left out."""
        left_out = f"; {self.num_without_image} of {self.num_rows} rows have no image: left out"
        return (
            f"{self._benchmark.name}: {self.num_questions} questions about "
            f"{self.num_images} images{left_out if self.num_without_image else ''}"
        )

    def _reset(self) -> None:
        self.num_rows = self.num_without_image = self.num_images = self.num_questions = 0

    def _image(self, image_id: str, rows: list[_Asked]) -> BenchmarkImage:
        self.num_images += 1
        self.num_questions += len(rows)
        questions = tuple(
            Question(
                question_id=f"{image_id}/{number}",
                task=self._benchmark.name,
                text=row.prompt,
                answers=row.answers,
                details=row.details,
            )
            for number, row in enumerate(rows)
        )
        return BenchmarkImage(image_id=image_id, data=rows[0].data, questions=questions)

    def _asked(self) -> Iterator[_Asked]:
        for path, names in self._files:
            for number, cells in enumerate(rows_of(path, names)):
                self.num_rows += 1
                row = {names[name]: cell for name, cell in cells.items()}
                try:
                    asked = self._ask(row)
                except ValueError as exc:
                    place = f"{path}, row {number}"
                    raise InputError(f"{self._benchmark.name}: {place}: {exc}") from exc
                if asked is not None:
                    yield asked

    def _ask(self, row: Row) -> _Asked | None:
        data = image_bytes(row)
        if data is None:
            self.num_without_image += 1
            return None
        return _Asked(
            image_id=self._benchmark.image_id(row),
            data=data,
            prompt=self._benchmark.prompt(row),
            answers=self._benchmark.answers(row),
            details=self._details(row),
        )

    def _details(self, row: Mapping[str, object]) -> dict[str, str]:
        there = (name for name in self._benchmark.details if row.get(name) is not None)
        return {name: text_in(row, name) for name in there}
