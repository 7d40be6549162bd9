"""Samples -> tables of `ROW_SCHEMA`, the last of which ends with the shard's marker row."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Generator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from pipeline.rows.idsum import IdSum
from pipeline.rows.row import CARRIED, to_table
from pipeline.rows.schemas import QUESTION_COLUMNS, ROW_SCHEMA, ShardEnd
from pipeline.sources.carried.carried_values import struct_of
from pipeline.sources.keys import UniqueKeys
from pipeline.sources.named.bring import PLACE, Bringer, Brought
from pipeline.sources.samples import Failure, Sample, broken_shard, one_line, oversize
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.sources.templates.asking import filled

__all__ = ["LOST", "PASSED_OVER", "StoredRows", "read_tables", "unread_tables"]

LOST: Final = b"carried_lost"
"""In a table's metadata: how many carried values are null since they were not fit to be carried."""

PASSED_OVER: Final = b"passed_over"
"""In the metadata of the marker's table: a JSON object, reason -> members of a tar that are no row.
"""

_Row = dict[str, Any]
_NUM_LOST: Final = "num_lost"
_NUM_BYTES: Final = "num_bytes"


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows of one shard that are stored already.

    Attributes:
        doubled: how many of them are stored more than once.
    """

    ids: Set[str] = frozenset()
    doubled: int = 0


def read_tables(
    shard: Shard,
    samples: Generator[Sample, None, None],
    options: ReadOptions,
    done: StoredRows,
    passed_over: Mapping[str, int],
) -> Iterator[pa.Table]:
    """Tables of at most `batch_rows` images and about `batch_bytes`; the marker is on its own.

    Args:
        passed_over: filled while `samples` are read.
    """
    keys = _keys(shard, options)
    counted = _Counted(done)
    batch: list[_Row] = []
    num_bytes = 0
    with contextlib.closing(samples), contextlib.closing(Bringer(shard, options)) as bringer:
        made = (_row(shard, s, keys, options) for s in itertools.islice(samples, shard.max_rows))
        for row, brought in bringer.bring(row for row in made if counted.is_wanted(row)):
            _enter(row, brought, options)
            num_bytes += len(row["image"] or b"") + row[_NUM_BYTES]
            batch.append(row)
            if len(batch) >= options.batch_rows or num_bytes >= options.batch_bytes:
                counted.settle()
                yield _table(batch, options)
                batch, num_bytes = [], 0
    if batch:
        yield _table(batch, options)
    end = _table([_marker(shard, counted.end())], options)
    yield end.replace_schema_metadata({PASSED_OVER: json.dumps(passed_over)} if passed_over else {})


def unread_tables(
    shard: Shard, failure: Failure, options: ReadOptions, done: StoredRows
) -> Iterator[pa.Table]:
    """For a shard that is not to be opened: one row that tells why, and the marker.

    What is stored of it is taken for what it holds besides.
    """
    sample = broken_shard(failure, options)
    counted = _Counted(StoredRows())
    row = _row(shard, sample, _keys(shard, options), options)
    if row["image_id"] not in done.ids and counted.is_wanted(row):
        yield _table([row], options)
    stored = IdSum.of(done.ids)
    end = replace(counted.end(), skipped_rows=stored.rows, skipped_digest=stored.digest)
    yield _table([_marker(shard, replace(end, doubled_rows=done.doubled))], options)


class _Counted:
    """Leaves out what is done, and adds up both kinds of rows."""

    def __init__(self, done: StoredRows) -> None:
        self._done = done
        self._emitted, self._skipped = IdSum(), IdSum()
        self._new: list[str] = []
        self._old: list[str] = []

    def is_wanted(self, row: _Row) -> bool:
        """Whether any of the row's ids is new; the row is cut down to these."""
        ids = row["row_ids"]
        new = [i for i, row_id in enumerate(ids) if row_id not in self._done.ids]
        self._old += [row_id for row_id in ids if row_id in self._done.ids]
        self._new += [ids[i] for i in new]
        for name in (column for column in QUESTION_COLUMNS if row.get(column) is not None):
            row[name] = [row[name][i] for i in new]
        return bool(new)

    def settle(self) -> None:
        """Turn the ids at hand into sums: a shard's ids need not be kept."""
        self._emitted += IdSum.of(self._new)
        self._skipped += IdSum.of(self._old)
        self._new, self._old = [], []

    def end(self) -> ShardEnd:
        self.settle()
        return ShardEnd(
            shard_rows=self._emitted.rows,
            shard_digest=self._emitted.digest,
            skipped_rows=self._skipped.rows,
            skipped_digest=self._skipped.digest,
            doubled_rows=self._done.doubled,
        )


def _marker(shard: Shard, end: ShardEnd) -> _Row:
    return {"shard": shard.name, "ledger_id": shard.ledger_id} | vars(end)


def _row(shard: Shard, sample: Sample, keys: UniqueKeys, options: ReadOptions) -> _Row:
    image_id, key, key_failure = keys.enter(sample.key)
    prompt = filled(sample.prompt, sample.along.fields, options)
    failure = (
        sample.failure
        or key_failure
        or (None if sample.place else _image_failure(sample.image, options))
        or prompt.failure
    )
    row: _Row = {
        "image_id": image_id,
        "shard": shard.name,
        "ledger_id": shard.ledger_id,
        "key": key,
        "image": None if failure else sample.image,
        "row_ids": prompt.row_ids(image_id),
        "prompts": list(prompt.texts),
        "prompt_names": list(prompt.names) or None,
        "prompt_failures": _told(prompt.failures),
        CARRIED: sample.along.carried,
        _NUM_LOST: sample.along.num_lost,
        _NUM_BYTES: sample.along.num_bytes,
        PLACE: None if failure else sample.place,
    }
    return row | (_told_of(failure) if failure else {})


def _enter(row: _Row, brought: Brought, options: ReadOptions) -> None:
    """The image that a row named, or why there is none."""
    if isinstance(brought, bytes):
        row["image"] = brought
        brought = _image_failure(brought, options)
    if isinstance(brought, Failure):
        row |= {"image": None} | _told_of(brought)


def _told_of(failure: Failure) -> _Row:
    return {
        "error_stage": "read",
        "error_code": failure.code,
        "error_detail": one_line(failure.detail),
    }


def _keys(shard: Shard, options: ReadOptions) -> UniqueKeys:
    return UniqueKeys(shard.name, [name for name, _ in options.prompts], shard.id_prefix)


def _told(failures: Sequence[Failure | None]) -> list[str | None] | None:
    """Of each text its code and what is wrong; None where nothing is."""
    if not any(failures):
        return None
    return [None if each is None else f"{each.code}: {one_line(each.detail)}" for each in failures]


def _image_failure(image: bytes | None, options: ReadOptions) -> Failure | None:
    if image is None:
        return Failure("image_missing", "null")
    if not image:
        return Failure("image_empty", "zero bytes")
    if len(image) > options.max_image_bytes:
        return oversize(len(image), options.max_image_bytes)
    return None


def _table(rows: list[_Row], options: ReadOptions) -> pa.Table:
    schema = ROW_SCHEMA
    if options.carried:
        schema = schema.append(pa.field(CARRIED, struct_of(options.carried)))
    lost = sum(row.get(_NUM_LOST) or 0 for row in rows)
    table = to_table(rows, schema)
    return table.replace_schema_metadata({LOST: str(lost)}) if lost else table
