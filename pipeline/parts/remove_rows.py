"""Taking rows out of parts that are stored already.

A part is replaced by one without the rows, in one atomic step; doing it twice changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.parts.entries import SHARES_KEY, PartEntry, Share
from pipeline.parts.sink import Sink
from pipeline.rows.idsum import IdSum
from pipeline.sources.images import bucket_of

_BUCKET: Final = re.compile(r"\[(\d+)/(\d+)\]$")


class Shard(Protocol):
    """Whose rows are meant: their name in the part, and which bucket of it."""

    @property
    def ledger_id(self) -> str: ...

    @property
    def name(self) -> str: ...


def remove_shards(sink: Sink, path: str, shards: Iterable[Shard]) -> None:
    """Take every row of `shards` out of the part at `path`."""
    gone = {shard.ledger_id: shard for shard in shards}
    metadata = _metadata(sink, path)
    if metadata is None or not gone.keys() & {s["ledger_id"] for s in metadata[SHARES_KEY]}:
        return
    table = sink.read_part(path)
    void = [belongs(table, shard.name, shard.ledger_id) for shard in gone.values()]
    shares = [share for share in metadata[SHARES_KEY] if share["ledger_id"] not in gone]
    _replace(sink, path, table, _any(void), metadata | {SHARES_KEY: shares})


def remove_ids(sink: Sink, path: str, shard: Shard, ids: set[str]) -> Share | None:
    """Take rows of one shard out by id; returns what is left of it there, None if nothing is."""
    metadata = _metadata(sink, path)
    assert metadata is not None, f"{path} was there a moment ago"
    table = sink.read_part(path)
    mine = belongs(table, shard.name, shard.ledger_id)
    void = pc.and_(mine, pc.is_in(table["image_id"], value_set=pa.array(sorted(ids))))
    left = table.filter(pc.and_not(mine, void))
    others = [s for s in metadata[SHARES_KEY] if s["ledger_id"] != shard.ledger_id]
    share = Share(path=path, ids=IdSum.of(left["image_id"].to_pylist()), codes=codes_of(left))
    entry = PartEntry(ledger_id=shard.ledger_id, name=shard.name, share=share)
    shares = [*others, entry.to_json()] if left.num_rows else others
    _replace(sink, path, table, void, metadata | {SHARES_KEY: shares})
    return share if left.num_rows else None


def _metadata(sink: Sink, path: str) -> dict[str, Any] | None:
    """None if the part is gone already."""
    return sink.metadata(path) if sink.exists(path) else None


def _replace(sink: Sink, path: str, table: pa.Table, void: Any, metadata: dict[str, Any]) -> None:
    left = table.filter(pc.invert(void))
    if left.num_rows == 0:
        sink.remove(path)
    elif left.num_rows < table.num_rows:
        sink.write(path, left, metadata)


def belongs(table: pa.Table, name: str, ledger_id: str) -> Any:
    """Mask of the rows of a shard; the buckets of one folder share a name."""
    mine = pc.equal(table["shard"], name)
    if ledger_id == name or not (found := _BUCKET.search(ledger_id)):
        return mine
    bucket, count = int(found[1]), int(found[2])
    in_bucket = [bucket_of(key, count) == bucket for key in table["key"].to_pylist()]
    return pc.and_(mine, pa.chunked_array([pa.array(in_bucket, type=pa.bool_())]))


def _any(masks: list[Any]) -> Any:
    either: Callable[[Any, Any], Any] = pc.or_
    result = masks[0]
    for mask in masks[1:]:
        result = either(result, mask)
    return result


def codes_of(table: pa.Table) -> dict[str, int]:
    if "error_code" not in table.column_names:
        return {}
    counts = pc.value_counts(table["error_code"]).to_pylist()
    return {entry["values"]: entry["counts"] for entry in counts}
