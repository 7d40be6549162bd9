"""What a public benchmark is to a reader: its columns, and how a row is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.evaluation.public.cells import Row
from lab.evaluation.public.parquet import columns_of
from lab.evaluation.public.reading import Reading
from pipeline.rows.errors import InputError

__all__ = ["Benchmark"]


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
