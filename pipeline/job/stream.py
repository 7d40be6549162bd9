"""From shards to stored parts: the stages run, and the driver writes what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TextIO

import pyarrow as pa
import ray
from ray.data import Dataset

from pipeline.accounting.cost import Prices
from pipeline.accounting.progress import ProgressPrinter, ProgressReporter
from pipeline.copies.client import RegistryClient
from pipeline.job.copying import fill_stage, registry_of
from pipeline.job.graph import build, set_up_ray_data
from pipeline.job.plan import Plan
from pipeline.job.signals import interrupts
from pipeline.ledger.work import Assignment
from pipeline.ledger.writer import LedgerWriter
from pipeline.parts.collector import PartCollector
from pipeline.rows.errors import StorageError
from pipeline.stages.attendant import start_attendant
from pipeline.stages.context import StageContext
from pipeline.stages.crash_tracker import CrashTrackerClient
from pipeline.stages.fill import FillStage
from pipeline.stages.write import Provenance, WriteStage

__all__ = ["Streamed", "stream"]


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """What a run did beside its parts.

    Attributes:
        first_at: `time.monotonic()` of the first text; None without any.
        fill: what it copied from row to row; None where duplicates are kept.
    """

    first_at: float | None = None
    fill: FillStage | None = None


def stream(
    plan: Plan,
    ledger_writer: LedgerWriter,
    assignments: Sequence[Assignment],
    prices: Prices,
    log: TextIO,
) -> Streamed:
    """Read, caption and store what is assigned; finished rows are stored however it ends.

    Raises:
        JobError, RayError, KeyboardInterrupt: whatever ends it early.
    """
    attendant = start_attendant()
    context = StageContext(
        run_id=ledger_writer.run_id,
        prices=prices,
        reporter=ProgressReporter(counter=attendant),
        crash_tracker=CrashTrackerClient(actor=attendant),
        extras=plan.resolved.extras,
    )
    with registry_of(plan.config, plan.sink, log) as registry:
        parts = _Parts(plan, ledger_writer, context, registry)
        printer = ProgressPrinter(
            attendant,
            total_rows=plan.num_rows,
            num_shards=len(assignments),
            usd_per_sec=_usd_per_sec(plan, prices),
            rows_stored=lambda: parts.collector.rows_stored,
            out=log,
        )
        set_up_ray_data(plan.resolved)
        dataset = build(
            plan.resolved,
            assignments=assignments,
            options=plan.options,
            context=context,
            sink=plan.sink,
            registry=registry,
        )
        with printer if plan.config.run.progress else nullcontext():
            parts.take(dataset)
    ray.kill(attendant)
    return Streamed(first_at=parts.collector.first_at, fill=parts.fill)


def _usd_per_sec(plan: Plan, prices: Prices) -> float:
    gpus, cpus = plan.resolved.placement.gpus, plan.resolved.cluster.cpus
    return prices.usd(seconds=1, gpus=gpus, cpus=cpus)


class _Parts:
    """Answered rows become parts, parts are entered in the ledger, copies get their captions."""

    def __init__(
        self,
        plan: Plan,
        ledger_writer: LedgerWriter,
        context: StageContext,
        registry: RegistryClient | None,
    ) -> None:
        sink, fence, output = plan.sink, ledger_writer.fence, plan.config.output
        provenance = _provenance(plan, ledger_writer.run_id)
        self._ledger_writer = ledger_writer
        self.fill = (
            None
            if registry is None
            else fill_stage(plan.config, context, sink, provenance, fence, registry)
        )
        self.collector = PartCollector(
            write=WriteStage(context, sink, provenance, fence, registry),
            store=self._store,
            rows_per_part=output.rows_per_part,
            part_sec=output.part_sec,
            grace_sec=output.grace_sec,
        )

    def take(self, dataset: Dataset) -> None:
        """All of it; if the job fails, what is finished and what is known of it is stored."""
        try:
            with self.collector, interrupts(self.collector.close):
                for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                    self.collector.add(table)
            for stored in [] if self.fill is None else self.fill.rest():
                self._ledger_writer.add(stored)
        except BaseException:
            with suppress(StorageError):
                self._ledger_writer.flush()
            raise

    def _store(self, summary: pa.Table) -> None:
        for stored in [summary] if self.fill is None else self.fill.after(summary):
            self._ledger_writer.add(stored)


def _provenance(plan: Plan, run_id: str) -> Provenance:
    selection = plan.config.reduction
    return Provenance(
        model=plan.config.model.model,
        method=selection.method_names,
        token_budget=selection.token_budget,
        fingerprint=plan.identity.fingerprint,
        run_id=run_id,
    )
