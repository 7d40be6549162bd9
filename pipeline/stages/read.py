"""Shards -> rows."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipeline.ledger.work import Assignment
from pipeline.parts.sink import Sink
from pipeline.rows.row import to_rows, to_table
from pipeline.rows.schemas import ROW_SCHEMA
from pipeline.sources import (
    LOST,
    PASSED_OVER,
    Failure,
    ReadOptions,
    read_shard,
    unread_tables,
)
from pipeline.stages.context import StageContext

STAGE = "read"
COLUMN = "assignment"
MAX_READER_CRASHES = 3
"""More than for a row: much more is lost to a worker that was killed from outside."""


class ReadStage:
    """Reads one shard at a time, handing on tables as they fill, without rows already stored.

    Args:
        sink: where parts with these rows are.
    """

    def __init__(self, context: StageContext, options: ReadOptions, sink: Sink):
        self._reporter = context.reporter
        self._meter = context.meter(STAGE)
        self._schema = context.extras.on_the_way(ROW_SCHEMA)
        self._crash_tracker = context.crash_tracker
        self._options = options
        self._sink = sink

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """`table` has one column, `assignment`, of JSON (`Assignment.to_json`)."""
        for text in table[COLUMN].to_pylist():
            yield from self._read(Assignment.from_json(text))

    def _read(self, assignment: Assignment) -> Iterator[pa.Table]:
        tables = self._tables(assignment)
        while True:
            rows: list[dict[str, object]] = []
            with self._meter.batch(rows) as record:
                table = next(tables, None)
                if table is not None:
                    rows += to_rows(table)
                    told = table.schema.metadata or {}
                    record["carried_lost"] = int(told.get(LOST, 0))
                    record["passed_over"] = (
                        told[PASSED_OVER].decode() if PASSED_OVER in told else None
                    )
            if table is None:
                break
            yield to_table(rows, self._schema)
        self._crash_tracker.end(STAGE, [assignment.shard.ledger_id])
        self._reporter.add(shards=1)

    def _tables(self, assignment: Assignment) -> Iterator[pa.Table]:
        """Of the shard; after it has brought down its worker again and again, of its failure.

        Should it have handed on rows before it did, Ray may hold these for the failure's row: the
        run then ends with rows that do not add up, and the next one, which skips them, with this.
        """
        shard, done = assignment.shard, assignment.done(self._sink)
        if self._crash_tracker.begin_alone(STAGE, shard.ledger_id) < MAX_READER_CRASHES:
            return read_shard(shard, self._options, done)
        failure = Failure("shard_kills_reader", f"its worker died {MAX_READER_CRASHES} times")
        return unread_tables(shard, failure, self._options, done)
