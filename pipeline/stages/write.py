"""Answered rows -> part files; a summary per part goes back to the driver."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from pipeline.records import CAPTIONS_SCHEMA, QUARANTINE_SCHEMA, SUMMARY_SCHEMA
from pipeline.rows import Row, to_table
from pipeline.sink import Sink
from pipeline.stages.context import StageContext
from pipeline.stats import STATS_SCHEMA


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

    The name follows from the rows, so that a batch that Ray runs twice overwrites itself.
    """

    def __init__(self, context: StageContext, sink: Sink, provenance: Provenance) -> None:
        self._meter = context.meter("write")
        self._sink = sink
        self._provenance = asdict(provenance)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows: list[Row] = table.to_pylist()
        results = [row | self._provenance for row in rows if row["shard_rows"] is None]
        part = self._part_name([row["image_id"] for row in results] or _stats_of(rows))
        bad = [row for row in results if row["error_code"] is not None]
        good = [row for row in results if row["error_code"] is None]
        with self._meter.batch(rows):
            self._store("quarantine", part, bad, QUARANTINE_SCHEMA)
            self._store("captions", part, good, CAPTIONS_SCHEMA)
        records = [json.loads(text) for text in _stats_of(rows)]
        self._store("stats", part, records, STATS_SCHEMA)
        return _summary(rows)

    def _part_name(self, marks: list[str]) -> str:
        """From the rows' ids; from their statistics where there are but end-of-shard markers."""
        text = "\n".join([self._provenance["run_id"], *sorted(marks)])
        digest = hashlib.sha256(text.encode()).hexdigest()
        return f"part-{digest[:20]}.parquet"

    def _store(self, kind: str, part: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
        if rows:
            self._sink.write(kind, part, to_table(rows, schema), self._provenance)


def _stats_of(rows: list[Row]) -> list[str]:
    return [text for row in rows for text in row["stats"] or []]


def _summary(rows: list[Row]) -> pa.Table:
    shards: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        counts = shards[row["shard"]]
        if row["shard_rows"] is not None:
            counts.update(markers=1, shard_rows=row["shard_rows"])
        else:
            counts["captions" if row["error_code"] is None else "quarantined"] += 1
    names = [name for name in SUMMARY_SCHEMA.names if name != "shard"]
    summary = [{"shard": s, **{n: c[n] for n in names}} for s, c in sorted(shards.items())]
    return to_table(summary, SUMMARY_SCHEMA)
