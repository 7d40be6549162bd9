"""Shards -> rows."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipeline.ledger.work import Assignment
from pipeline.records import ROW_SCHEMA
from pipeline.rows import to_table
from pipeline.sink import Sink
from pipeline.sources import ReadOptions, read_shard
from pipeline.stages.context import StageContext

COLUMN = "assignment"


class ReadStage:
    """Reads one shard at a time, handing on tables as they fill, without rows already stored.

    Args:
        sink: where parts with these rows are.
    """

    def __init__(self, context: StageContext, options: ReadOptions, sink: Sink):
        self._reporter = context.reporter
        self._meter = context.meter("read")
        self._options = options
        self._sink = sink

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """`table` has one column, `assignment`, of JSON (`Assignment.to_json`)."""
        for text in table[COLUMN].to_pylist():
            yield from self._read(Assignment.from_json(text))

    def _read(self, assignment: Assignment) -> Iterator[pa.Table]:
        tables = read_shard(assignment.shard, self._options, assignment.done(self._sink))
        while True:
            rows: list[dict[str, object]] = []
            with self._meter.batch(rows):
                table = next(tables, None)
                if table is not None:
                    rows += table.to_pylist()
            if table is None:
                break
            yield to_table(rows, ROW_SCHEMA)
        self._reporter.add(shards=1)
