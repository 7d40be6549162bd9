"""Parts in batches, whatever version wrote them; and rows picked out of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.parts.sink import Sink
from pipeline.rows.errors import StorageError
from pipeline.rows.fitting import fit, is_text
from pipeline.rows.redact import redact_text
from pipeline.rows.row import Row

__all__ = ["Batch", "Names", "Parts", "Place", "rows_of", "texts_of"]

_BATCH_ROWS: Final = 2**16
_PICKED_ROWS: Final = 2**12
Place = tuple[str, int]
"""Of a row: its part's path, and its position in it."""


@dataclass(frozen=True)
class Batch:
    """Neighbouring rows of a part.

    Attributes:
        first: position in the part of the first of them.
    """

    path: str
    first: int
    table: pa.Table

    def column(self, name: str, kind: pa.DataType) -> pa.ChunkedArray:
        """As `kind`; null where the part lacks it, or has something else of that name."""
        if name in self.table.column_names:
            with suppress(pa.ArrowException):
                return self.table[name].cast(kind, safe=False)
        return pa.chunked_array([pa.nulls(self.table.num_rows, kind)])

    def valid(self, column: str) -> pa.Array:
        """A column of texts, bytes that are no UTF-8 replaced."""
        found = self.column(column, pa.string()).combine_chunks()
        try:
            found.validate(full=True)
        except pa.ArrowInvalid:
            return pa.array(texts_of(pa.chunked_array([found])), pa.string())
        return found

    def names(self, column: str) -> Names:
        """A column of few different texts; "" for null."""
        filled = pc.fill_null(self.column(column, pa.string()), "")
        encoded = filled.combine_chunks().dictionary_encode()
        codes = encoded.indices.to_numpy().astype(np.int64)
        return Names(texts_of(pa.chunked_array([encoded.dictionary])), codes)


@dataclass(frozen=True)
class Names:
    """Texts, each once, and for each row which of them it has, int64 [rows]."""

    texts: list[str]
    codes: npt.NDArray[np.int64]

    def of(self, rows: npt.NDArray[np.int64]) -> Names:
        return Names(self.texts, self.codes[rows])


@dataclass
class Parts:
    """Parts of one output.

    Attributes:
        unreadable: path and reason of each part that does not read; others go on without it.
        gone: parts that a run took away meanwhile.
    """

    sink: Sink
    unreadable: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def batches(self, kind: str, columns: Sequence[str]) -> Iterator[Batch]:
        """Those of `columns` that are there, of all parts of `kind`; memory does not grow with
        rows."""
        for path in self.sink.parts(kind):
            with self._told(path):
                yield from self._of(path, _BATCH_ROWS, columns)

    def rows(self, places: Iterable[Place]) -> dict[Place, Row]:
        """Whole rows, each part opened once; rows of parts that are gone or damaged are left
        out."""
        wanted: dict[str, set[int]] = defaultdict(set)
        for path, position in places:
            wanted[path].add(position)
        found: dict[Place, Row] = {}
        for path, positions in sorted(wanted.items()):
            with self._told(path):
                for batch in self._of(path, _PICKED_ROWS, None):
                    found |= _picked(batch, positions)
                    if all((path, position) in found for position in positions):
                        break
        return found

    def _of(self, path: str, size: int, columns: Sequence[str] | None) -> Iterator[Batch]:
        with self.sink.open(path) as file, pq.ParquetFile(file) as part:
            there = part.schema_arrow.names
            chosen = None if columns is None else [name for name in columns if name in there]
            first = 0
            for batch in part.iter_batches(size, columns=chosen):
                yield Batch(path, first, pa.Table.from_batches([batch]))
                first += batch.num_rows

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except StorageError as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                self.gone.add(path)
            elif _is_damage(exc.__cause__):
                self.unreadable[path] = redact_text(" ".join(str(exc.__cause__).split()))
            else:
                raise


def _is_damage(cause: BaseException | None) -> bool:
    """Whether it is the file's content, not the way to it: Arrow tells of the former by errors of
    its own, or by an OSError without a number."""
    return isinstance(cause, pa.ArrowException) or (type(cause) is OSError and cause.errno is None)


def _picked(batch: Batch, positions: set[int]) -> dict[Place, Row]:
    mine = sorted(p - batch.first for p in positions if 0 <= p - batch.first < batch.table.num_rows)
    rows = rows_of(batch.table.take(pa.array(mine, type=pa.int64()))) if mine else []
    return {(batch.path, batch.first + p): row for p, row in zip(mine, rows, strict=True)}


def rows_of(table: pa.Table) -> list[Row]:
    """Python values. Bytes that are no UTF-8 become question marks: a row of another program's
    making, or a value that was carried, must not end the page."""
    columns = {name: texts_of(table[name]) for name in table.column_names}
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def texts_of(column: pa.ChunkedArray) -> list[Any]:
    """Python's values; texts in place of what is none, such as years past 9999."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):  # Of Unicode among them.
        return [_python(column.slice(row, 1)) for row in range(len(column))]


def _python(value: pa.ChunkedArray) -> Any:
    """Of a column of one row."""
    try:
        return value[0].as_py()
    except (ValueError, OverflowError):
        if is_text(value.type):
            return value.cast(pa.large_binary())[0].as_py().decode("utf-8", "replace")
        return fit(value, pa.string())[0][0].as_py()
