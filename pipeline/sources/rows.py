"""Samples -> tables of `ROW_SCHEMA`, the last of which ends with the shard's marker row."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator
from typing import Any

import pyarrow as pa

from pipeline.records import ROW_SCHEMA
from pipeline.sources.keys import KeyBook
from pipeline.sources.samples import Failure, Sample, one_line, oversize
from pipeline.sources.shard import ReadOptions, Shard

__all__ = ["read_tables"]

_Row = dict[str, Any]


def read_tables(
    shard: Shard, samples: Generator[Sample, None, None], options: ReadOptions
) -> Iterator[pa.Table]:
    """Tables of at most `batch_rows` images and about `batch_bytes`; the marker is on its own."""
    book = KeyBook(shard.name)
    batch: list[_Row] = []
    num_row_ids = num_bytes = 0
    with contextlib.closing(samples):
        for sample in itertools.islice(samples, shard.max_rows):
            row = _row(shard, sample, book, options)
            num_row_ids += len(row["row_ids"])
            num_bytes += len(row["image"] or b"")
            batch.append(row)
            if len(batch) >= options.batch_rows or num_bytes >= options.batch_bytes:
                yield _table(batch)
                batch, num_bytes = [], 0
    if batch:
        yield _table(batch)
    yield _table([{"shard": shard.name, "shard_rows": num_row_ids}])


def _row(shard: Shard, sample: Sample, book: KeyBook, options: ReadOptions) -> _Row:
    image_id, key, key_failure = book.enter(sample.key)
    failure = (
        sample.failure
        or key_failure
        or _image_failure(sample.image, options)
        or sample.prompt.failure
    )
    texts = sample.prompt.texts
    several = sample.prompt.several
    row: _Row = {
        "image_id": image_id,
        "shard": shard.name,
        "key": key,
        "image": None if failure else sample.image,
        "row_ids": [f"{image_id}#q{i}" for i in range(len(texts))] if several else [image_id],
        "prompts": list(texts),
    }
    if failure:
        row |= {
            "error_stage": "read",
            "error_code": failure.code,
            "error_detail": one_line(failure.detail),
        }
    return row


def _image_failure(image: bytes | None, options: ReadOptions) -> Failure | None:
    if image is None:
        return Failure("image_missing", "null")
    if not image:
        return Failure("image_empty", "zero bytes")
    if len(image) > options.max_image_bytes:
        return oversize(len(image), options.max_image_bytes)
    return None


def _table(rows: list[_Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)
