"""A run of the job without Ray and without a model: real reading, writing and ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any

import pyarrow as pa

from pipeline.accounting.cost import Prices
from pipeline.copies.claims import Finder
from pipeline.copies.client import learn_captions
from pipeline.copies.registry import Registry
from pipeline.ledger.identity import Identity
from pipeline.ledger.lease import Fence
from pipeline.ledger.work import Assignment
from pipeline.ledger.writer import LedgerWriter, ResumeOptions
from pipeline.parts.sink import LOCK, Sink
from pipeline.rows.row import Row, fail, to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA
from pipeline.sources import ReadOptions, Shard
from pipeline.stages import ReadStage, WriteStage
from pipeline.stages.context import StageContext
from pipeline.stages.fill import FillStage
from pipeline.stages.met_before import MetBefore
from pipeline.stages.read import COLUMN
from pipeline.stages.write import Provenance

CONTEXT = StageContext(run_id="r", prices=Prices(gpu_hour_usd=0, cpu_hour_usd=0))
IDENTITY = Identity(fingerprint="f" * 16, fields={"budget": 0.2}, input_root="file/in")
OPTIONS = ReadOptions(prompt="p", batch_rows=2)


def hold(sink: Sink, run_id: str) -> Fence:
    """Take the output from whoever holds it."""
    Sink(url=sink.url).put_json(LOCK, {"run_id": run_id})
    return Fence(store=sink, run_id=run_id)


def writer(
    sink: Sink, fence: Fence, identity: Identity = IDENTITY, registry: Finder | None = None
) -> WriteStage:
    provenance = Provenance(
        model="m",
        method="hired",
        token_budget=0.2,
        fingerprint=identity.fingerprint,
        run_id=fence.run_id,
    )
    return WriteStage(CONTEXT, sink, provenance, fence, registry)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run is given.

    Attributes:
        bad: image ids (of questions) that it fails to caption.
        rows_per_part: rows of several shards share a part.
        lag: parts that are stored before the first of them is reported.
        meanwhile: called when everything is read and nothing written.
        copies: whether images that were met before get the caption of the first.
    """

    run_id: str
    shards: Sequence[Shard]
    identity: Identity = IDENTITY
    resume: ResumeOptions = field(default_factory=ResumeOptions)
    options: ReadOptions = OPTIONS
    bad: frozenset[str] = frozenset()
    rows_per_part: int = 4
    lag: int = 2
    meanwhile: Callable[[], None] = lambda: None
    copies: bool = False

    def play(self, sink: Sink) -> LedgerWriter:
        """From taking the output to closing it."""
        ledger_writer = LedgerWriter(sink, hold(sink, self.run_id), self.identity)
        assignments = ledger_writer.begin(self.shards, self.resume)
        registry = Registry() if self.copies else None
        if registry is not None:
            learn_captions(registry, sink)
        rows = self.answers(sink, assignments, registry)
        self.meanwhile()
        write = writer(sink, ledger_writer.fence, self.identity, registry)
        fill = self._fill(sink, ledger_writer.fence, registry)
        parts = [to_table(some, ANSWERED_SCHEMA) for some in _cut(rows, self.rows_per_part)]
        for some in _cut(parts, self.lag):
            for summary in [write(part) for part in some]:
                for stored in fill.after(summary):
                    ledger_writer.add(stored)
            ledger_writer.flush()
        for stored in fill.rest():
            ledger_writer.add(stored)
        ledger_writer.finish()
        ledger_writer.close()
        return ledger_writer

    def _fill(self, sink: Sink, fence: Fence, registry: Registry | None) -> FillStage:
        return FillStage(
            sink=sink,
            registry=registry or Registry(),
            write=writer(sink, fence, self.identity),
            rejected=frozenset(),
            rows_per_part=self.rows_per_part,
        )

    def answers(
        self, sink: Sink, assignments: Sequence[Assignment], registry: Registry | None = None
    ) -> list[Row]:
        """Rows of all shards in turn, as they come when shards are read side by side."""
        stage = ReadStage(CONTEXT, self.options, sink)
        each = [stage(pa.table({COLUMN: [a.to_json()]})) for a in assignments]
        tables = [table for some in zip_longest(*each) for table in some if table is not None]
        rows = list(chain.from_iterable(table.to_pylist() for table in tables))
        if registry is not None:
            MetBefore(registry, likeness=False).by_bytes(rows)
        return [answer for row in rows for answer in self._answer(row)]

    def _answer(self, row: Row) -> Iterator[Row]:
        row["stats"] = None
        if row["shard_rows"] is not None:
            yield row
            return
        firsts = row.pop("firsts") or [None] * len(row["row_ids"])
        for row_id, prompt, first in zip(row["row_ids"], row["prompts"], firsts, strict=True):
            answer: dict[str, Any] = row | {"image_id": row_id, "prompt": prompt, "first": first}
            if first is not None:
                pass  # It is not looked at.
            elif row_id in self.bad:
                fail(answer, "generate", "generation_failed", "as told")
            elif row["error_code"] is None:
                answer["text"] = f"{self.run_id} saw {row['image']!r}"
                answer["flags"] = []
                answer["sha256"] = hashlib.sha256(row["image"]).hexdigest()
            yield answer


def _cut(items: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
