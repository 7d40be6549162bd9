"""What goes along with a row: one Arrow array of one struct, of the types decided before."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.rows.fitting import fit, is_text, plain_type
from pipeline.sources.carried.request import CarriedColumn

__all__ = ["Along", "along_of_batch", "along_of_fields", "struct_of"]

_PIECE_ROWS: Final = 64
_PIECE_BYTES: Final = 64 * 1024**2
"""Of one column, decoded at once; one value may be larger."""


@dataclass(frozen=True, slots=True, eq=False)
class Along:
    """Of one row.

    Attributes:
        carried: an array of one struct; None where the job carries nothing.
        num_lost: values that are null since they do not fit their type, or are too large.
        fields: values by column, for templates.
    """

    carried: pa.Array | None = None
    num_lost: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_bytes(self) -> int:
        return 0 if self.carried is None else int(self.carried.nbytes)


def struct_of(columns: Sequence[CarriedColumn]) -> pa.DataType:
    """The type of `Along.carried`."""
    return pa.struct([pa.field(column.name, column.kind) for column in columns])


def along_of_batch(
    batch: pa.RecordBatch, columns: Sequence[CarriedColumn], fields: Sequence[str], max_bytes: int
) -> Iterator[Along]:
    """Of each row of a batch, which may lack some of `columns` and of `fields`.

    A few rows are decoded at a time: a dictionary lets one large value stand for many rows.
    """
    if not columns and not fields:
        yield from (Along() for _ in range(batch.num_rows))
        return
    num_rows = max(1, min(_PIECE_ROWS, _PIECE_BYTES // max_bytes))
    for start in range(0, batch.num_rows, num_rows):
        yield from _along_of_piece(batch.slice(start, num_rows), columns, fields, max_bytes)


def _along_of_piece(
    piece: pa.RecordBatch, columns: Sequence[CarriedColumn], fields: Sequence[str], max_bytes: int
) -> Iterator[Along]:
    there = set(piece.schema.names)
    found = [
        _fitted(piece.column(column.source), column.kind, max_bytes)
        if column.source in there
        else (pa.nulls(piece.num_rows, column.kind), [])
        for column in columns
    ]
    lost = Counter(row for _, rows in found for row in rows)
    carried = _struct([array for array, _ in found], columns)
    values = {name: piece.column(name) for name in fields if name in there}
    for row in range(piece.num_rows):
        yield Along(
            None if carried is None else carried.slice(row, 1),
            lost[row],
            {name: _python(column.slice(row, 1), max_bytes) for name, column in values.items()},
        )


def _struct(arrays: Sequence[pa.Array], columns: Sequence[CarriedColumn]) -> pa.Array | None:
    if not columns:
        return None
    return pa.StructArray.from_arrays(arrays, fields=list(struct_of(columns)))


def _fitted(column: pa.Array, kind: pa.DataType, max_bytes: int) -> tuple[pa.Array, list[int]]:
    """The column as `kind`, and the rows whose values are null now."""
    if pa.types.is_dictionary(column.type) and plain_type(column.type) == column.type.value_type:
        return _by_entry(column, kind, max_bytes)
    if plain_type(column.type) != column.type:
        # Dictionaries and views inside: many rows may show the same bytes.
        each = [_bounded(*fit(column.slice(i, 1), kind), max_bytes) for i in range(len(column))]
        return pa.concat_arrays([a for a, _ in each]), [
            i for i, (_, rows) in enumerate(each) if rows
        ]
    small, large = _bounded(column, [], max_bytes)
    found, unfit = fit(small, kind)
    return _bounded(found, [*large, *unfit], max_bytes)


def _by_entry(column: pa.Array, kind: pa.DataType, max_bytes: int) -> tuple[pa.Array, list[int]]:
    """Of a dictionary column: each entry that occurs is looked at once."""
    used = pc.unique(column.indices).drop_null()
    entries, lost = _fitted(column.dictionary.take(used), kind, max_bytes)
    at = pc.index_in(column.indices, value_set=used)
    gone = set(lost)
    return entries.take(at), [row for row, entry in enumerate(at.to_pylist()) if entry in gone]


def _bounded(column: pa.Array, lost: list[int], max_bytes: int) -> tuple[pa.Array, list[int]]:
    """With values of more bytes null, and entered among the lost."""
    if column.nbytes <= max_bytes:
        return column, lost
    large = [i for i in range(len(column)) if column.slice(i, 1).nbytes > max_bytes]
    if not large:
        return column, lost
    gone = set(large)
    kept = pa.array([None if i in gone else i for i in range(len(column))], type=pa.int64())
    return column.take(kept), [*lost, *large]


def _shares_bytes(kind: pa.DataType) -> bool:
    """Whether many values of the type, or inside one, may show the same bytes."""
    types = pa.types
    sharing = (
        *(types.is_dictionary, types.is_run_end_encoded, types.is_list_view),
        *(types.is_large_list_view, types.is_string_view, types.is_binary_view),
    )
    if any(is_one(kind) for is_one in sharing) or isinstance(kind, pa.BaseExtensionType):
        return True
    return any(_shares_bytes(kind.field(i).type) for i in range(kind.num_fields))


def _python(value: pa.Array, max_bytes: int) -> Any:
    kept = _fitted(value, plain_type(value.type), max_bytes)[0]
    try:
        return kept[0].as_py()
    except (ValueError, OverflowError):  # Nanoseconds, or years past 9999.
        return fit(kept, pa.string())[0][0].as_py()


def along_of_fields(
    found: Mapping[str, Any],
    columns: Sequence[CarriedColumn],
    fields: Sequence[str],
    max_bytes: int,
) -> Along:
    """Of the fields of a JSON object."""
    values = {name: found[name] for name in fields if name in found}
    arrays, lost = [], 0
    for column in columns:
        array, gone = _of_json(found.get(column.source), column.kind)
        array, gone = _bounded(array, gone, max_bytes)
        arrays.append(array)
        lost += bool(gone)
    return Along(_struct(arrays, columns), lost, values)


def _of_json(value: Any, kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    """Anything has a form as text; a truth value is no number."""
    none = pa.nulls(1, kind)
    if value is None:
        return none, []
    if isinstance(value, bool) != pa.types.is_boolean(kind) and not is_text(kind):
        return none, [0]
    try:
        if is_text(kind):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            return pa.array([text], type=kind), []
        return fit(pa.array([value]), kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return none, [0]
