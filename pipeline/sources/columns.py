"""Columns of Parquet and Arrow shards: which are usable, and rows out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.carried.carried_values import along_of_batch
from pipeline.sources.samples import Failure, Sample, constant_prompt, given_prompt
from pipeline.sources.shard import ReadOptions

__all__ = ["BYTES_FIELD", "ColumnChoice", "batch_samples", "choose_columns"]

BYTES_FIELD: Final = "bytes"
"""Where a struct column keeps the image; a path beside it is neither read nor opened."""

_Want = tuple[str, Callable[[Any], bool], str]


@dataclass(frozen=True, kw_only=True)
class ColumnChoice:
    """What to read of one shard."""

    columns: tuple[str, ...]
    """Columns to read."""

    failure: Failure | None
    """column_missing, if a needed column is not there or not of a usable type."""

    id_column: str | None
    """None: the key is the row ordinal."""


def choose_columns(schema: pa.Schema, options: ReadOptions) -> ColumnChoice:
    """The columns needed, and the failure of all rows when one of them is missing."""
    wanted: list[_Want] = [
        (options.image_column, _is_image, "binary, or a struct with binary 'bytes'")
    ]
    if options.prompt_column is not None:
        wanted.append((options.prompt_column, _is_prompt, "string or list of strings"))
    if options.id_column is not None:
        wanted.append((options.id_column, _is_scalar, "a scalar type"))
    problems = [
        problem for name, fits, types in wanted if (problem := _problem(schema, name, fits, types))
    ]
    id_column = options.id_column
    if id_column is not None and _problem(schema, id_column, _is_scalar, ""):
        id_column = None
    names: list[str | None] = [id_column]
    failure = None
    if problems:
        detail = f"{'; '.join(problems)}; columns: {_describe(schema)}"
        failure = Failure("column_missing", detail)
    else:
        names += [options.image_column, options.prompt_column]
    names += [name for name in options.columns_along if schema.get_field_index(name) >= 0]
    columns = tuple(dict.fromkeys(name for name in names if name is not None))
    return ColumnChoice(columns=columns, failure=failure, id_column=id_column)


def batch_samples(
    batch: pa.RecordBatch, choice: ColumnChoice, options: ReadOptions, *, first_row: int
) -> Iterator[Sample]:
    """The rows of `batch`, the first of which has the ordinal `first_row`."""
    keys = _keys(batch, choice, first_row)
    constant = constant_prompt(options)
    along = along_of_batch(batch, options.carried, options.fields, options.max_carried_bytes)
    if choice.failure is not None:
        for key, beside in zip(keys, along, strict=True):
            yield Sample(key, None, constant, choice.failure, beside)
        return
    images = batch.column(options.image_column)
    if pa.types.is_struct(images.type):
        images = pc.struct_field(images, BYTES_FIELD)
    asked = options.prompt_column
    prompts = None if asked is None else _as_binary(batch.column(asked))
    for i, (key, beside) in enumerate(zip(keys, along, strict=True)):
        prompt = constant if prompts is None else given_prompt(prompts[i].as_py())
        yield Sample(key, images[i].as_py(), prompt, along=beside)


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema) or "none"


def _problem(schema: pa.Schema, name: str, fits: Callable[[Any], bool], types: str) -> str | None:
    index = schema.get_field_index(name)  # -1 also when two columns share the name.
    if index < 0:
        return f"no column {name!r}"
    found = schema.field(index).type
    return None if fits(found) else f"column {name!r} has type {found}, wanted {types}"


def _value_type(found: Any) -> Any:
    return found.value_type if pa.types.is_dictionary(found) else found


def _is_binary(found: Any) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(kind(_value_type(found)) for kind in (*kinds, pa.types.is_binary_view))


def _is_string(found: Any) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(kind(_value_type(found)) for kind in kinds)


def _is_image(found: Any) -> bool:
    if not pa.types.is_struct(found):
        return _is_binary(found)
    index = found.get_field_index(BYTES_FIELD)
    return index >= 0 and _is_binary(found.field(index).type)


def _is_list(found: Any) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(kind(found) for kind in kinds)


def _is_prompt(found: Any) -> bool:
    return _is_string(found.value_type if _is_list(found) else found)


def _is_scalar(found: Any) -> bool:
    found = _value_type(found)
    return not (pa.types.is_nested(found) or pa.types.is_null(found))


def _as_binary(column: Any) -> Any:
    """Strings as bytes: neither Parquet nor Arrow makes sure that they are UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if _is_list(column.type):
        return column.cast(pa.large_list(pa.large_binary()))
    return column.cast(pa.large_binary())


def _keys(batch: pa.RecordBatch, choice: ColumnChoice, first_row: int) -> list[str]:
    ordinals = range(first_row, first_row + batch.num_rows)
    if choice.id_column is None:
        return [str(ordinal) for ordinal in ordinals]
    column = batch.column(choice.id_column)
    if not (_is_binary(column.type) or _is_string(column.type)):
        column = column.cast(pa.string())
    values = _as_binary(column).to_pylist()
    return [
        str(ordinal) if value is None else value.decode("utf-8", "surrogateescape")
        for ordinal, value in zip(ordinals, values, strict=True)
    ]
