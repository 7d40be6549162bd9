"""Rows of one shard that are stored more than once, brought down to one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger.records import ShardRecord
from pipeline.parts.entries import Share
from pipeline.parts.remove_rows import belongs, codes_of, remove_ids
from pipeline.parts.sink import Sink
from pipeline.rows.idsum import IdSum


def remove_duplicates(sink: Sink, record: ShardRecord) -> ShardRecord:
    """Keep the first of each id, a caption rather than a quarantined row.

    Writers of a run that was killed may have stored rows while the next had begun to do them again.
    """
    seen: set[str] = set()
    kept: list[Share] = []
    for path in sorted({share.path for share in record.shares}):  # captions/ before quarantine/
        table = _rows(sink, path, record)
        ids = table["image_id"].to_pylist()
        if again := seen.intersection(ids):
            left = remove_ids(sink, path, record, again)
            kept += [left] if left is not None else []
        else:
            kept.append(Share(path=path, ids=IdSum.of(ids), codes=codes_of(table)))
        seen.update(ids)
    codes: Counter[str] = Counter()
    for share in kept:
        codes.update(share.codes)
    return replace(record, shares=tuple(kept), codes=dict(codes))


def _rows(sink: Sink, path: str, record: ShardRecord) -> pa.Table:
    columns = ["image_id", "shard", "key"]
    if path.startswith("quarantine/"):
        columns.append("error_code")
    table = sink.read_part(path, columns)
    return table.filter(pc.fill_null(belongs(table, record.name, record.ledger_id), False))
