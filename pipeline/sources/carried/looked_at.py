"""Which columns the input has, by a look at some of its shards.

A column may be in one shard and not in the next, and of another type there: what a single shard
has is not what all have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from pipeline.rows.errors import InputError
from pipeline.rows.fitting import common_type
from pipeline.sources.paths.unopened import passing_over
from pipeline.sources.samples import is_unicode
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.sources.tables.arrow_dataset import arrow_schema
from pipeline.sources.tables.manifest import first_records
from pipeline.sources.tables.parquet import parquet_schema
from pipeline.sources.tars.webdataset import first_fields

__all__ = ["columns_of"]

_TABLES: Final = 16
_TARS: Final = 4
_SAMPLES: Final = 32
"""Of a tar that is looked at."""


def columns_of(shards: Sequence[Shard], options: ReadOptions) -> dict[str, pa.DataType]:
    """The columns of up to 20 shards, from the first to the last, each of a type for all.

    Raises:
        InputError: if there are but loose images, which have no columns.
        StorageError: if a shard cannot be opened.
    """
    tables = [shard for shard in shards if shard.format in ("parquet", "arrow")]
    tars = [shard for shard in shards if shard.format == "webdataset"]
    manifests = [shard for shard in shards if shard.format in ("csv", "jsonl")]
    if not tables and not tars and not manifests:
        raise InputError("carry, prompt: loose images have no columns; leave them out")
    kinds: dict[str, set[pa.DataType]] = {}
    for name, kind in (
        *_of_tables(_spread(tables, _TABLES), options),
        *_of_tars(_spread(tars, _TARS), options),
        *_of_manifests(_spread(manifests, _TARS), options),
    ):
        kinds.setdefault(name, set()).add(kind)
    return {name: _settled(sorted(found, key=str)) for name, found in kinds.items()}


def _spread(shards: Sequence[Shard], count: int) -> list[Shard]:
    """`count` of them, evenly over all, the first and the last among them."""
    if len(shards) <= count:
        return list(shards)
    return [shards[i * (len(shards) - 1) // (count - 1)] for i in range(count)]


def _settled(kinds: Sequence[pa.DataType]) -> pa.DataType:
    """Text, for what is always null."""
    common = common_type(kinds)
    return pa.string() if pa.types.is_null(common) else common


def _of_tables(shards: Sequence[Shard], options: ReadOptions) -> Iterator[tuple[str, pa.DataType]]:
    for shard in shards:
        look = parquet_schema if shard.format == "parquet" else arrow_schema
        schema = pa.schema([])
        with passing_over(shard):
            schema = look(shard, options) or schema
        for each in schema:
            if schema.get_field_index(each.name) >= 0:  # -1 where two have that name.
                yield each.name, each.type


def _of_tars(shards: Sequence[Shard], options: ReadOptions) -> Iterator[tuple[str, pa.DataType]]:
    for shard in shards:
        found: list[dict[str, Any]] = []
        with passing_over(shard):
            found = first_fields(shard, options, _SAMPLES)
        for fields in found:
            yield from (
                (name, _json_kind(value)) for name, value in fields.items() if _is_name(name)
            )


def _of_manifests(
    shards: Sequence[Shard], options: ReadOptions
) -> Iterator[tuple[str, pa.DataType]]:
    """All of a CSV file is text; fields of JSON have types."""
    for shard in shards:
        for fields in first_records(shard, options):
            for name, value in fields.items():
                if _is_name(name):
                    yield name, pa.string() if shard.format == "csv" else _json_kind(value)


def _is_name(name: str) -> bool:
    """Whether a column can be called so."""
    return bool(name) and is_unicode(name)


def _json_kind(value: Any) -> pa.DataType:
    """Whole numbers, numbers, truth values and texts; all else as JSON text."""
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return pa.int64()
    return pa.float64() if isinstance(value, float) else pa.string()
