"""The formats behind one interface."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final

import pyarrow as pa

from pipeline.rows.errors import InputError, StorageError
from pipeline.sources.images import read_images
from pipeline.sources.named.places import check_root
from pipeline.sources.paths.unopened import passing_over
from pipeline.sources.rows import StoredRows, read_tables
from pipeline.sources.samples import Failure, Sample, broken_shard
from pipeline.sources.shard import ReadOptions, Shard, ShardFormat
from pipeline.sources.tables.arrow_dataset import arrow_schema, count_arrow_rows, read_arrow
from pipeline.sources.tables.columns import choose_columns
from pipeline.sources.tables.manifest import count_manifest_rows, manifest_schema, read_manifest
from pipeline.sources.tables.parquet import count_parquet_rows, parquet_schema, read_parquet
from pipeline.sources.tars.webdataset import read_webdataset
from pipeline.storage.files import file_trouble, redact_url

__all__ = ["check_columns", "count_rows", "limit_shards", "read_shard"]

_SHARDS_TO_CHECK: Final = 3
_READERS: Final[
    dict[ShardFormat, Callable[[Shard, ReadOptions], Generator[Sample, None, None]]]
] = {
    "parquet": read_parquet,
    "images": read_images,
    "arrow": read_arrow,
    "csv": read_manifest,
    "jsonl": read_manifest,
}


def read_shard(
    shard: Shard, options: ReadOptions, done: StoredRows | None = None
) -> Iterator[pa.Table]:
    """Tables of `ROW_SCHEMA`: every image of the shard, good or bad, in order; then one marker.

    Rows that are `done` are left out. The marker (`ShardEnd`) adds up the `row_ids` handed on
    before it. What is held in memory is one table, one record batch, the keys seen and those done.

    A file that is not there, or not one to read, is a single row that tells so.

    Raises:
        StorageError: if the storage fails. Bad data is never an exception.
    """
    passed_over = Counter[str]()
    samples = _samples(shard, options, passed_over)
    return read_tables(shard, samples, options, done or StoredRows(), passed_over)


def _samples(
    shard: Shard, options: ReadOptions, passed_over: Counter[str]
) -> Generator[Sample, None, None]:
    """Those of the reader; one that stands for the shard where it cannot be opened."""
    num_read = 0
    if shard.format == "webdataset":
        found = read_webdataset(shard, options, passed_over)
    else:
        found = _READERS[shard.format](shard, options)
    try:
        with contextlib.closing(found) as samples:
            for sample in samples:
                num_read += 1
                yield sample
    except StorageError as exc:
        trouble = file_trouble(exc, shard.url)
        if shard.format == "images" or num_read or trouble is None:
            raise
        yield broken_shard(Failure(*trouble), options)


def count_rows(shard: Shard, options: ReadOptions) -> int | None:
    """Images in the shard, before questions multiply them; None where only reading can tell.

    Exact for sound files: Parquet, local Arrow and manifests, loose images. None for tars, for
    remote Arrow and manifests, and for tables with lists of images.

    Raises:
        StorageError: if the shard cannot be opened.
    """
    count: int | None = 1
    with passing_over(shard):
        count = _count(shard, options)
    if count is None or shard.max_rows is None:
        return count
    return min(count, shard.max_rows)


def _count(shard: Shard, options: ReadOptions) -> int | None:
    if shard.format == "images":
        return len(shard.files)
    if shard.format == "parquet":
        return count_parquet_rows(shard, options)
    if shard.format in ("csv", "jsonl"):
        return count_manifest_rows(shard, options)
    return count_arrow_rows(shard, options) if shard.format == "arrow" else None


def limit_shards(shards: Sequence[Shard], limit: int, options: ReadOptions) -> tuple[Shard, ...]:
    """The shards that hold the first `limit` images, the last of them cut by `max_rows`.

    Shards that cannot be counted are read as far as needed.

    Raises:
        ValueError: if `limit` is below 1.
        StorageError: if a shard cannot be opened or read.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit}, allowed: 1 or more")
    kept: list[Shard] = []
    for index, shard in enumerate(shards):
        is_last = index == len(shards) - 1
        num_rows = limit if is_last else _count_up_to(shard, limit, options)
        kept.append(shard if num_rows < limit else dataclasses.replace(shard, max_rows=limit))
        limit -= num_rows
        if limit <= 0:
            break
    return tuple(kept)


def check_columns(shards: Sequence[Shard], options: ReadOptions) -> None:
    """Refuses names of columns that none of the first few Parquet and Arrow shards has.

    A single shard without the column is no error here: its rows are quarantined.

    Raises:
        InputError: if no shard has the columns, only loose images are asked for prompts, or
            `image_root` is not there.
        StorageError: if a shard cannot be opened.
    """
    check_root(options.image_root, options.storage_options)
    if options.prompt_column is not None and all(shard.format == "images" for shard in shards):
        raise InputError(f"loose images have no {options.prompt_column!r}: set a constant prompt")
    problems = []
    for shard, schema in itertools.islice(_schemas(shards, options), _SHARDS_TO_CHECK):
        failure = choose_columns(schema, options).failure
        if failure is None:
            return
        problems.append(f"{redact_url(shard.url)}: {failure.detail}")
    if problems:
        raise InputError(problems[0])


def _schemas(shards: Sequence[Shard], options: ReadOptions) -> Iterator[tuple[Shard, pa.Schema]]:
    """Columns of the shards that have columns and open."""
    for shard in shards:
        schema = None
        with passing_over(shard):
            if shard.format == "parquet":
                schema = parquet_schema(shard, options)
            elif shard.format == "arrow":
                schema = arrow_schema(shard, options)
            elif shard.format in ("csv", "jsonl"):
                schema = manifest_schema(shard, options)
        if schema is not None:
            yield shard, schema


def _count_up_to(shard: Shard, limit: int, options: ReadOptions) -> int:
    """Images in the shard, or any number from `limit` on when it has as many."""
    if (count := count_rows(shard, options)) is not None:
        return count
    with contextlib.closing(_samples(shard, options, Counter())) as samples:
        return sum(1 for _ in itertools.islice(samples, limit))
