"""Arrow files of Hugging Face `save_to_disk`: IPC streams (and, as a courtesy, IPC files)."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa

from pipeline.sources.samples import Failure, Sample, broken_shard
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.sources.tables.columns import batch_samples, choose_columns
from pipeline.sources.tables.image_column import is_list
from pipeline.sources.tables.validate import check_batch
from pipeline.storage.files import local_path, open_input, storage_errors

__all__ = ["arrow_schema", "count_arrow_rows", "read_arrow"]

_PIECE_ROWS = 1024
_FILE_MAGIC = b"ARROW1"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_DATA_ERRORS = (pa.ArrowException, OSError, ValueError)  # StorageError is none of these.


def read_arrow(shard: Shard, options: ReadOptions) -> Generator[Sample, None, None]:
    """The rows in order; after a break in the file, one sample that tells of it.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    code, num_rows = "shard_corrupt", 0
    with _source(shard, options) as source:
        try:
            choice = choose_columns(_schema(source), options)
            code = "shard_truncated"
            for batch in _batches(source, choice.columns):
                code = "shard_corrupt"
                check_batch(batch)
                code = "shard_truncated"
                for piece in _pieces(batch):
                    yield from batch_samples(piece, choice, options, first_row=num_rows)
                    num_rows += piece.num_rows
        except _DATA_ERRORS as exc:
            detail = f"after {num_rows} rows: {type(exc).__name__}: {exc}"
            yield broken_shard(Failure(code, detail), options)


def count_arrow_rows(shard: Shard, options: ReadOptions) -> int | None:
    """Rows of a local file, None of a remote one: it would have to be read whole.

    None, too, where a row may hold several images.
    """
    if local_path(shard.url) is None or _has_lists(shard, options):
        return None
    num_rows = 0
    with _source(shard, options) as source:
        try:
            for batch in _batches(source, ()):
                num_rows += batch.num_rows
        except _DATA_ERRORS:
            num_rows += 1
    return num_rows


def _has_lists(shard: Shard, options: ReadOptions) -> bool:
    schema = arrow_schema(shard, options)
    if schema is None:
        return False
    choice = choose_columns(schema, options)
    return choice.failure is None and is_list(schema.field(choice.image_column).type)


def arrow_schema(shard: Shard, options: ReadOptions) -> pa.Schema | None:
    """The columns, None if the file is no Arrow IPC."""
    with _source(shard, options) as source:
        try:
            return _schema(source)
        except _DATA_ERRORS:
            return None


@contextlib.contextmanager
def _source(shard: Shard, options: ReadOptions) -> Generator[Any, None, None]:
    """The file; mapped when it is local, for record batches of 1,000 images need not fit memory."""
    path = local_path(shard.url)
    if path is None:
        with open_input(shard.url, options.storage_options) as file:
            yield pa.PythonFile(file, mode="r")
        return
    with storage_errors("open", shard.url):
        source = pa.memory_map(path)
    with source:
        yield source


def _schema(source: Any) -> pa.Schema:
    return _open(source).schema


def _batches(source: Any, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Record batches with only `columns`; with all of them when none is named."""
    schema = _schema(source)
    fields = [schema.get_field_index(name) for name in columns]
    reader = _open(source, pa.ipc.IpcReadOptions(included_fields=fields))
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        for i in range(reader.num_record_batches):
            yield reader.get_batch(i)
        return
    yield from reader
    # A stream cut between two messages reads like a shorter one, but for its last bytes.
    source.seek(-len(_END_OF_STREAM), 2)
    if source.read() != _END_OF_STREAM:
        raise pa.ArrowInvalid("the stream has no end mark")


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """`batch` in slices: columns without values may claim any number of rows for no bytes."""
    for start in range(0, batch.num_rows, _PIECE_ROWS):
        yield batch.slice(start, _PIECE_ROWS)


def _open(source: Any, options: pa.ipc.IpcReadOptions | None = None) -> Any:
    source.seek(0)
    magic = source.read(len(_FILE_MAGIC))
    source.seek(0)
    if magic == _FILE_MAGIC:
        return pa.ipc.open_file(source, options=options)
    return pa.ipc.open_stream(source, options=options)
