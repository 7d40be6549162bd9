"""Columns of Parquet and Arrow shards: which are usable, and rows out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.sources.carried.carried_values import along_of_batch
from pipeline.sources.samples import Failure, Sample, constant_prompt, given_prompt, named_sample
from pipeline.sources.shard import ReadOptions
from pipeline.sources.tables.image_column import (
    IMAGE_TYPES,
    as_binary,
    found_in,
    is_binary,
    is_image,
    is_list,
    is_string,
    name_of_images,
)

__all__ = ["ColumnChoice", "batch_samples", "choose_columns"]

_Want = tuple[str, Callable[[Any], bool], str]


@dataclass(frozen=True, kw_only=True)
class ColumnChoice:
    """What to read of one shard."""

    columns: tuple[str, ...]
    """Columns to read."""

    failure: Failure | None
    """column_missing, if a needed column is not there or not of a usable type."""

    image_column: str
    """Where the images are: as asked for, or one of the usual names."""

    id_column: str | None
    """None: the key is the row ordinal."""


def choose_columns(schema: pa.Schema, options: ReadOptions) -> ColumnChoice:
    """The columns needed, and the failure of all rows when one of them is missing."""
    kinds = {f.name: f.type for f in schema if schema.get_field_index(f.name) >= 0}
    image_column = name_of_images(kinds, options.image_column)
    wanted: list[_Want] = [(image_column, is_image, IMAGE_TYPES)]
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
        names += [image_column, options.prompt_column]
    names += [name for name in options.columns_along if schema.get_field_index(name) >= 0]
    columns = tuple(dict.fromkeys(name for name in names if name is not None))
    return ColumnChoice(
        columns=columns, failure=failure, image_column=image_column, id_column=id_column
    )


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
    asked = options.prompt_column
    prompts = None if asked is None else as_binary(batch.column(asked))
    rows = found_in(batch.column(choice.image_column))
    for i, (key, beside, found) in enumerate(zip(keys, along, rows, strict=True)):
        prompt = constant if prompts is None else given_prompt(prompts[i].as_py())
        for image in found:
            yield named_sample(key + image.mark, image.data, image.place, image.why, prompt, beside)


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema) or "none"


def _problem(schema: pa.Schema, name: str, fits: Callable[[Any], bool], types: str) -> str | None:
    index = schema.get_field_index(name)  # -1 also when two columns share the name.
    if index < 0:
        return f"no column {name!r}"
    found = schema.field(index).type
    return None if fits(found) else f"column {name!r} has type {found}, wanted {types}"


def _is_prompt(found: Any) -> bool:
    return is_string(found.value_type if is_list(found) else found)


def _is_scalar(found: Any) -> bool:
    found = found.value_type if pa.types.is_dictionary(found) else found
    return not (pa.types.is_nested(found) or pa.types.is_null(found))


def _keys(batch: pa.RecordBatch, choice: ColumnChoice, first_row: int) -> list[str]:
    ordinals = range(first_row, first_row + batch.num_rows)
    if choice.id_column is None:
        return [str(ordinal) for ordinal in ordinals]
    column = batch.column(choice.id_column)
    if not (is_binary(column.type) or is_string(column.type)):
        column = column.cast(pa.string())
    values = as_binary(column).to_pylist()
    return [
        str(ordinal) if value is None else value.decode("utf-8", "surrogateescape")
        for ordinal, value in zip(ordinals, values, strict=True)
    ]
