"""Columns of one name and several types, brought to one type without losing a row."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import pyarrow as pa

__all__ = ["common_schema", "common_type", "fit", "plain_type"]

_UNFIT: Final = (pa.ArrowException, ValueError, TypeError, OverflowError)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """`kind` as it is stored: dictionaries and views as their values, extensions as their storage,
    no metadata of nested fields."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    return _nested(kind)


def _nested(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([_plain(kind.field(i)) for i in range(kind.num_fields)])
    if pa.types.is_map(kind):
        return pa.map_(plain_type(kind.key_type), plain_type(kind.item_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_plain(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_field), kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.list_(_plain(kind.value_field))
    return kind


def _plain(field: pa.Field) -> pa.Field:
    return pa.field(field.name, plain_type(field.type))


def common_type(kinds: Iterable[pa.DataType]) -> pa.DataType:
    """The narrowest type that all of `kinds` fit; text, if nothing else is."""
    common = pa.null()
    for kind in map(plain_type, kinds):
        fields = [pa.schema([pa.field("x", each)]) for each in (common, kind)]
        try:
            common = pa.unify_schemas(fields, promote_options="permissive").field(0).type
        except pa.ArrowException:
            return pa.string()
    return common


def common_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Every column that any has, in the order in which they are met, each of a type for all."""
    kinds: dict[str, set[pa.DataType]] = {}
    for schema in schemas:
        for each in schema:
            kinds.setdefault(each.name, set()).add(each.type)
    return pa.schema([pa.field(n, common_type(sorted(k, key=str))) for n, k in kinds.items()])


def fit(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> tuple[pa.Array, int]:
    """`column` as `kind`, and how many values are null now since they have no such form.

    Nothing is rounded or cut; anything has a form as text.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    try:
        return _cast(column, kind), 0
    except _UNFIT:
        found = [_fit_one(column.slice(i, 1), kind) for i in range(len(column))]
    lost = sum(value.null_count > column.slice(i, 1).null_count for i, value in enumerate(found))
    return pa.concat_arrays(found), lost


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if column.type != kind:
        column = column.cast(kind)
    column.validate(full=True)  # Neither Parquet nor Arrow makes sure that texts are UTF-8.
    return column


def _fit_one(value: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return _cast(value, kind)
    except _UNFIT:
        pass
    if not _is_text(kind) or value.null_count:
        return pa.nulls(1, kind)
    try:
        return pa.array([_text(value[0].as_py())], type=kind)
    except _UNFIT:
        return pa.nulls(1, kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _text(value: Any) -> str:
    """JSON; of what JSON has no form for, other than bytes, as Python writes it."""
    return json.dumps(value, ensure_ascii=False, default=_told)


def _told(value: Any) -> str:
    if isinstance(value, bytes):
        raise TypeError("bytes are no text")
    return str(value)
