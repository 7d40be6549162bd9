"""Shards -> rows."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from pipeline.records import ROW_SCHEMA
from pipeline.rows import to_table
from pipeline.sources import ReadOptions, Shard, read_shard
from pipeline.stages.context import StageContext


class ReadStage:
    """Reads one shard at a time, handing on tables as they fill.

    Args:
        shards: all shards of the run; rows name theirs by index.
    """

    def __init__(self, context: StageContext, shards: tuple[Shard, ...], options: ReadOptions):
        self._reporter = context.reporter
        self._meter = context.meter("read")
        self._shards = shards
        self._options = options

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """`table` has one column, `index`, of int64."""
        for index in table["index"].to_pylist():
            yield from self._read(self._shards[index])

    def _read(self, shard: Shard) -> Iterator[pa.Table]:
        tables = read_shard(shard, self._options)
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
