"""Parquet shards, read in small record batches and only the needed columns."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.sources.samples import Failure, Sample, broken_shard
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.sources.tables.columns import ColumnChoice, batch_samples, choose_columns
from pipeline.sources.tables.image_column import BYTES_FIELD, PATH_FIELD, is_list
from pipeline.storage.files import open_input

__all__ = ["count_parquet_rows", "parquet_schema", "read_parquet"]

# Column chunks are streamed in pieces of about this size: one may hold all images of the shard.
_BUFFER_BYTES = 1024 * 1024
_MAX_ENTRIES = 2**24
"""Of all lists of one column in a row group."""
_DATA_ERRORS = (pa.ArrowException, OSError, ValueError)  # StorageError is none of these.


def read_parquet(shard: Shard, options: ReadOptions) -> Generator[Sample, None, None]:
    """The rows in order; after a break in the file, one sample that tells of it.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    num_rows = 0
    try:
        with _open(shard, options) as file:
            choice = choose_columns(file.schema_arrow, options)
            _check_lists(file.metadata)
            for batch in _batches(file, choice, options):
                yield from batch_samples(batch, choice, options, first_row=num_rows)
                num_rows += batch.num_rows
    except _DATA_ERRORS as exc:
        detail = f"after {num_rows} rows: {type(exc).__name__}: {exc}"
        yield broken_shard(Failure("shard_corrupt", detail), options)


def count_parquet_rows(shard: Shard, options: ReadOptions) -> int | None:
    """Rows by the footer; 1 for a file that is no Parquet, as `read_parquet` makes of it.

    None where a row may hold several images.
    """
    try:
        with _open(shard, options) as file:
            if _has_lists(file.schema_arrow, options):
                return None
            return int(file.metadata.num_rows)
    except _DATA_ERRORS:
        return 1


def _has_lists(schema: pa.Schema, options: ReadOptions) -> bool:
    choice = choose_columns(schema, options)
    return choice.failure is None and is_list(schema.field(choice.image_column).type)


def parquet_schema(shard: Shard, options: ReadOptions) -> pa.Schema | None:
    """The columns, None if the file is no Parquet."""
    try:
        with _open(shard, options) as file:
            return file.schema_arrow
    except _DATA_ERRORS:
        return None


@contextlib.contextmanager
def _open(shard: Shard, options: ReadOptions) -> Generator[pq.ParquetFile, None, None]:
    with (
        open_input(shard.url, options.storage_options) as source,
        # With `pre_buffer`, the default, whole column chunks would be read at once.
        pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file,
    ):
        yield file


def _batches(
    file: pq.ParquetFile, choice: ColumnChoice, options: ReadOptions
) -> Iterator[pa.RecordBatch]:
    yield from file.iter_batches(
        batch_size=_batch_rows(file.metadata, options),
        columns=[leaf for name in choice.columns for leaf in _leaves(file, name, choice)],
        use_threads=False,
    )


def _leaves(file: pq.ParquetFile, name: str, choice: ColumnChoice) -> list[str]:
    """The column; of structs of images only their bytes and paths."""
    kind = file.schema_arrow.field(name).type
    kind = kind.value_type if is_list(kind) else kind
    if name != choice.image_column or not pa.types.is_struct(kind):
        return [name]
    paths = [file.schema.column(i).path for i in range(len(file.schema))]
    wanted = (BYTES_FIELD, PATH_FIELD)
    return [
        path for path in paths if path.startswith(f"{name}.") and path.rpartition(".")[2] in wanted
    ]


def _check_lists(metadata: pq.FileMetaData) -> None:
    """A list of nulls takes no bytes in the file, and eight for each in memory.

    Raises:
        ValueError: if there are more than fit a read task.
    """
    for group in range(metadata.num_row_groups):
        found = metadata.row_group(group)
        for column in (found.column(i) for i in range(found.num_columns)):
            if column.num_values > max(found.num_rows, _MAX_ENTRIES):
                raise ValueError(f"lists of {column.num_values} entries in {column.path_in_schema}")


def _batch_rows(metadata: pq.FileMetaData, options: ReadOptions) -> int:
    """Rows that stay near `batch_bytes`, judged by the row group of the largest rows."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    row_bytes = max((_row_bytes(group) for group in groups), default=0)
    return max(1, min(options.batch_rows, options.batch_bytes // max(row_bytes, 1)))


def _row_bytes(group: pq.RowGroupMetaData) -> int:
    """Of a row on average; at most, where a dictionary lets one value stand for many rows."""
    columns = [group.column(i) for i in range(group.num_columns)]
    shared = [c.total_uncompressed_size for c in columns if _has_dictionary(c)]
    return int(max([group.total_byte_size // max(group.num_rows, 1), *shared]))


def _has_dictionary(column: pq.ColumnChunkMetaData) -> bool:
    return any("DICTIONARY" in encoding for encoding in column.encodings)
