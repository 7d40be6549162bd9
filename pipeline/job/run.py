"""A job from configuration to report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any, TextIO

import ray
from ray.data import Dataset

from pipeline.accounting.cost import load_prices
from pipeline.accounting.progress import ProgressPrinter, ProgressReporter, start_progress_counter
from pipeline.job.graph import build, set_up_ray_data
from pipeline.job.plan import Plan, make_plan
from pipeline.job.report import Occupancy, build_report, summary
from pipeline.job.resolve import resolve
from pipeline.job.token_budget import doubts
from pipeline.ledger.lease import Lease, new_run_id
from pipeline.ledger.work import Assignment
from pipeline.ledger.writer import LedgerWriter, ResumeOptions
from pipeline.parts.sink import REPORT, REPORTS
from pipeline.resources.placement import Cluster
from pipeline.rows.errors import EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS, StorageError
from pipeline.rows.words import counted
from pipeline.settings.config import JobConfig, OutputConfig
from pipeline.sources import redact_url
from pipeline.stages.context import StageContext
from pipeline.stages.crash_tracker import start_crash_tracker
from pipeline.stages.write import Provenance


def run_job(config: JobConfig, *, started: float, out: TextIO, log: TextIO) -> int:
    """Run a job; returns the exit code.

    The summary goes to `out`, progress to `log`. Ray must be running already: see
    `pipeline.job.session`.

    Args:
        started: `time.monotonic()` when the process began to hold its machines: cost counts from
            there, so that starting Ray is included.

    Raises:
        JobError: with its exit code and one line on what went wrong.
    """
    cluster = Cluster.of_ray()
    plan = make_plan(resolve(config, cluster))
    if plan.is_done:
        return _nothing_to_do(plan, out, log)
    for doubt in doubts(config.reduction, plan.resolved.spec.nominal_tokens):
        print(f"note: {doubt}", file=log, flush=True)
    run_id = new_run_id()
    with Lease(store=plan.sink, run_id=run_id, log=log) as lease:
        ledger_writer = LedgerWriter(plan.sink, lease.fence, plan.identity)
        assignments = ledger_writer.begin(plan.shards, _resume_options(config.output))
        _tell_resume(plan, ledger_writer, assignments, log)
        occupancy = _execute(plan, ledger_writer, assignments, started, log)
        report = build_report(plan, ledger_writer, occupancy)
        plan.sink.put_json(f"{REPORTS}/{run_id}.json", report)
        plan.sink.put_json(REPORT, report)
        ledger_writer.close()
    print(summary(report), file=out)
    return _exit_code(plan, report, log)


def _resume_options(output: OutputConfig) -> ResumeOptions:
    return ResumeOptions(
        overwrite=output.overwrite,
        retry_quarantined=output.retry_quarantined,
        on_changed=output.on_changed,
    )


def _nothing_to_do(plan: Plan, out: TextIO, log: TextIO) -> int:
    totals = plan.ledger.totals()
    kept = f", {len(plan.work.changed)} changed and skipped" if plan.work.changed else ""
    print(
        f"nothing to do: {_complete(plan.work.num_complete)}{kept}; "
        f"{totals.captions:,} captions and {totals.quarantined:,} quarantined rows are at "
        f"{redact_url(plan.sink.url)}, fingerprint {plan.identity.fingerprint}",
        file=out,
    )
    return _rate_code(plan, totals.quarantined, totals.rows, log)


def _tell_resume(
    plan: Plan, ledger_writer: LedgerWriter, assignments: Sequence[Assignment], log: TextIO
) -> None:
    """What is there already, when anything is."""
    rows = ledger_writer.ledger.totals().rows
    if rows:
        print(
            f"{counted(rows, 'row')} stored; {len(assignments):,} of "
            f"{counted(len(plan.shards), 'shard')} to open",
            file=log,
            flush=True,
        )


def _execute(
    plan: Plan,
    ledger_writer: LedgerWriter,
    assignments: Sequence[Assignment],
    started: float,
    log: TextIO,
) -> Occupancy:
    """Run the pipeline to its end and check that nothing was lost."""
    cluster, placement = plan.resolved.cluster, plan.resolved.placement
    prices = load_prices(plan.config.run, cluster.gpu_name)
    if assignments:
        counter = start_progress_counter()
        usd_per_sec = prices.usd(seconds=1, gpus=placement.gpus, cpus=cluster.cpus)
        printer = ProgressPrinter(
            counter,
            total_rows=plan.num_images if plan.options.prompt_column is None else None,
            num_shards=len(assignments),
            usd_per_sec=usd_per_sec,
            out=log,
        )
        context = StageContext(
            run_id=ledger_writer.run_id,
            prices=prices,
            reporter=ProgressReporter(counter=counter),
            crash_tracker=start_crash_tracker(),
        )
        with printer if plan.config.run.progress else nullcontext():
            _stream(_dataset(plan, ledger_writer, assignments, context), ledger_writer)
        ray.kill(counter)
    ledger_writer.finish()
    wall_sec = time.monotonic() - started
    return Occupancy(wall_sec=wall_sec, cpus=cluster.cpus, gpus=placement.gpus, prices=prices)


def _dataset(
    plan: Plan,
    ledger_writer: LedgerWriter,
    assignments: Sequence[Assignment],
    context: StageContext,
) -> Dataset:
    set_up_ray_data()
    return build(
        plan.resolved,
        assignments=assignments,
        options=plan.options,
        context=context,
        sink=plan.sink,
        provenance=_provenance(plan, ledger_writer.run_id),
        fence=ledger_writer.fence,
    )


def _stream(dataset: Dataset, ledger_writer: LedgerWriter) -> None:
    """Enter each part in the ledger as it is reported; keep what is known if the job fails."""
    try:
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            ledger_writer.add(table)
    except BaseException:
        with suppress(StorageError):
            ledger_writer.flush()
        raise


def _provenance(plan: Plan, run_id: str) -> Provenance:
    selection = plan.config.reduction
    return Provenance(
        model=plan.config.model.model,
        method=selection.method_names,
        token_budget=selection.token_budget,
        fingerprint=plan.identity.fingerprint,
        run_id=run_id,
    )


def _exit_code(plan: Plan, report: dict[str, Any], log: TextIO) -> int:
    """Of what this run opened and of all that is stored, the worse."""
    opened = report["opened"]
    code = _rate_code(plan, opened["quarantined"], opened["rows"], log)
    return code or _rate_code(plan, report["quarantined"], report["rows"], log)


def _rate_code(plan: Plan, quarantined: int, rows: int, log: TextIO) -> int:
    rate, limit = quarantined / max(1, rows), plan.config.output.max_error_rate
    if rate <= limit:
        return EXIT_DONE
    where = redact_url(plan.sink.url)
    print(
        f"error: {rate:.1%} of the rows are in quarantine, more than --max-error-rate {limit:.1%}; "
        f"all else is done. {where}/quarantine tells each row's error_code and error_detail; "
        "mend what they name and run again with --retry-quarantined, or raise --max-error-rate",
        file=log,
    )
    return EXIT_TOO_MANY_BAD_ROWS


def _complete(shards: int) -> str:
    return f"{counted(shards, 'shard')} {'is' if shards == 1 else 'are'} complete"
