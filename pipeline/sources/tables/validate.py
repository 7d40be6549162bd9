"""Arrow data from a file that may lie: checked before anything follows its offsets.

Arrow IPC is handed on as it lies in the file. An offset that points elsewhere would be followed
into foreign memory: the process ends, and with it the job.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["check_batch"]


def check_batch(batch: pa.RecordBatch) -> None:
    """Every offset, length and dictionary index lies within its buffer.

    Whether texts are UTF-8 is not asked: that is a failure of a row, not of a shard.

    Raises:
        pa.ArrowInvalid: if not.
    """
    batch.validate()
    for column in batch.columns:
        _check(column)


def _check(array: Any) -> None:
    if pa.types.is_dictionary(array.type):
        _check(array.indices)
        _check(array.dictionary)
        bounds = pc.min_max(array.indices).as_py()
        if bounds["min"] is not None and not 0 <= bounds["min"] <= bounds["max"] < len(
            array.dictionary
        ):
            raise pa.ArrowInvalid("a dictionary index out of bounds")
        return
    as_bytes = _without_texts(array.type)
    (array if as_bytes == array.type else array.view(as_bytes)).validate(full=True)


def _without_texts(kind: pa.DataType) -> pa.DataType:
    """The type with texts as bytes, which have the same layout and no rules of their own."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_string_view(kind):
        return pa.binary_view()
    if pa.types.is_list(kind):
        return pa.list_(_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_field(kind.value_field))
    if pa.types.is_struct(kind):
        return pa.struct([_field(kind.field(i)) for i in range(kind.num_fields)])
    return kind


def _field(field: pa.Field) -> pa.Field:
    return field.with_type(_without_texts(field.type))
