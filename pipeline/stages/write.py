"""Answered rows -> part files; a summary of each goes back to the driver."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa

from pipeline.accounting.stats import STATS_SCHEMA
from pipeline.copies.claims import Finder
from pipeline.ledger.lease import Fence
from pipeline.parts.entries import SHARES_KEY, PartEntry, Share
from pipeline.parts.sink import KINDS, WAITING, Sink
from pipeline.rows.errors import StorageError
from pipeline.rows.extras import captions_schema, quarantine_schema, stored_table
from pipeline.rows.idsum import IdSum
from pipeline.rows.row import Row, is_copy, to_rows, to_table
from pipeline.rows.schemas import SUMMARY_SCHEMA, WAITING_SCHEMA, ShardEnd
from pipeline.stages.context import StageContext
from pipeline.stages.met_before import asked_of


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What made the captions; stored with each."""

    model: str
    method: str
    token_budget: float
    fingerprint: str
    run_id: str


class WriteStage:
    """Writes each batch as one part: captions, quarantine and statistics under the same name.

    Called by the driver (`pipeline.parts.collector`). The name follows from the rows, so that the
    same rows replace themselves. A run that has lost the output writes nothing, or takes back what
    it wrote meanwhile.

    Rows that get the caption of another go to a part of their own, where they wait for it.

    Args:
        registry: to be told where the rows are that others get the caption of.
    """

    def __init__(
        self,
        context: StageContext,
        sink: Sink,
        provenance: Provenance,
        fence: Fence,
        registry: Finder | None = None,
    ) -> None:
        self._meter = context.meter("write")
        self._extras = context.extras
        self._waiting = context.extras.on_the_way(WAITING_SCHEMA)
        self._sink = sink
        self._provenance = asdict(provenance)
        self._fence = fence
        self._registry = registry

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = to_rows(table)
        results = [row | self._provenance for row in rows if row["shard_rows"] is None]
        part = self._part_name([_mark(row) for row in results] or _stats_of(rows))
        bad = [row for row in results if row["error_code"] is not None]
        copies = [row for row in results if row["error_code"] is None and is_copy(row)]
        good = [row for row in results if row["error_code"] is None and not is_copy(row)]
        entries: list[PartEntry] = []
        self._fence.check()
        with self._meter.batch(rows):
            entries += self._store(f"quarantine/{part}", bad, quarantine_schema(self._extras))
            entries += self._store(f"captions/{part}", good, captions_schema(self._extras))
            entries += self._store(f"{WAITING}/{part}", copies, self._waiting)
        records = [json.loads(text) for text in _stats_of(rows)]
        if records:
            self._sink.write(f"stats/{part}", to_table(records, STATS_SCHEMA), self._provenance)
        self._check_still_ours(part)
        self._tell(f"quarantine/{part}", bad)
        self._tell(f"captions/{part}", good)
        return to_table([*map(_share_row, entries), *_end_rows(rows)], SUMMARY_SCHEMA)

    def _part_name(self, marks: list[str]) -> str:
        """From the rows' marks; from their statistics where there are but end-of-shard markers."""
        digest = hashlib.sha256("\n".join(sorted(marks)).encode()).hexdigest()
        return f"part-{self._provenance['run_id']}-{digest[:16]}.parquet"

    def _store(self, path: str, rows: list[Row], schema: pa.Schema) -> list[PartEntry]:
        """Writes a part, unless it were empty; returns what it holds."""
        if not rows:
            return []
        entries = _entries(path, rows)
        shares = [each.to_json() for each in entries]
        waits = schema is self._waiting
        table = to_table(rows, schema) if waits else stored_table(rows, schema, self._extras)
        self._sink.write(path, table, self._provenance | {SHARES_KEY: shares})
        return entries

    def _tell(self, path: str, rows: list[Row]) -> None:
        asked = [asked for row in rows if (asked := asked_of(row)) is not None]
        if asked and self._registry is not None:
            self._registry.stored(path, asked)

    def _check_still_ours(self, part: str) -> None:
        try:
            self._fence.check()
        except StorageError:
            for kind in KINDS:
                self._sink.remove(f"{kind}/{part}")
            raise


def _mark(row: Row) -> str:
    """Its id; of one that has waited another than when it came by first, with other statistics."""
    return row["image_id"] if row["duplicate_of"] is None else f"{row['image_id']} copied"


def _stats_of(rows: list[Row]) -> list[str]:
    return [text for row in rows for text in row["stats"] or []]


def _entries(path: str, rows: list[Row]) -> list[PartEntry]:
    """By shard."""
    shards: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        shards[row["ledger_id"]].append(row)
    return [
        PartEntry(ledger_id=ledger_id, name=mine[0]["shard"], share=_share(path, mine))
        for ledger_id, mine in sorted(shards.items())
    ]


def _share(path: str, rows: list[Row]) -> Share:
    codes = Counter(row["error_code"] for row in rows if row["error_code"] is not None)
    return Share(path=path, ids=IdSum.of(row["image_id"] for row in rows), codes=dict(codes))


def _share_row(entry: PartEntry) -> dict[str, Any]:
    content = entry.to_json()
    return content | {"path": entry.share.path, "codes": json.dumps(content["codes"])}


def _end_rows(rows: list[Row]) -> list[dict[str, Any]]:
    names = [field.name for field in fields(ShardEnd)]
    return [
        {"ledger_id": row["ledger_id"], "name": row["shard"]} | {name: row[name] for name in names}
        for row in rows
        if row["shard_rows"] is not None
    ]
