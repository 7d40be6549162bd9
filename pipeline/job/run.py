"""A job from configuration to report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TextIO

from pipeline.accounting.cost import load_prices
from pipeline.accounting.token_budget import doubts
from pipeline.job.first_look import first_look
from pipeline.job.plan import Plan, make_plan, num_named
from pipeline.job.report import Occupancy, build_report, summary
from pipeline.job.resolve import resolve
from pipeline.job.stream import Streamed, stream
from pipeline.ledger.lease import Lease, new_run_id
from pipeline.ledger.work import Assignment
from pipeline.ledger.writer import LedgerWriter, ResumeOptions
from pipeline.parts.sink import REPORT, REPORTS
from pipeline.resources.placement import Cluster
from pipeline.rows.errors import (
    EXIT_DONE,
    EXIT_TOO_MANY_BAD_ROWS,
    JobInterruptedError,
    StorageError,
)
from pipeline.rows.words import counted
from pipeline.settings.config import JobConfig, OutputConfig
from pipeline.sources import redact_url
from pipeline.sources.paths.passed_over import told


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
    if plan.passed_over:
        print(f"passed over: {told(plan.passed_over)}", file=log, flush=True)
    for doubt in doubts(config.reduction, plan.resolved.spec.nominal_tokens):
        print(f"note: {doubt}", file=log, flush=True)
    run_id = new_run_id()
    with Lease(store=plan.sink, run_id=run_id, log=log) as lease:
        ledger_writer = LedgerWriter(plan.sink, lease.fence, plan.identity)
        assignments = ledger_writer.begin(plan.shards, _resume_options(config.output))
        _tell_resume(plan, ledger_writer, assignments, log)
        try:
            occupancy, done = _execute(plan, ledger_writer, assignments, started, log)
        except KeyboardInterrupt:
            raise _interrupted(plan, ledger_writer) from None
        report = build_report(plan, ledger_writer, occupancy, done.fill)
        plan.sink.put_json(f"{REPORTS}/{run_id}.json", report)
        plan.sink.put_json(REPORT, report)
        if not config.output.compact or compacted(ledger_writer, config.output.rows_per_part, log):
            ledger_writer.close()
    print(summary(report), file=out)
    if look := first_look(plan.sink, run_id):
        print(look, file=out)
    return _exit_code(plan, report, log)


def _resume_options(output: OutputConfig) -> ResumeOptions:
    return ResumeOptions(
        overwrite=output.overwrite,
        retry_quarantined=output.retry_quarantined,
        on_changed=output.on_changed,
    )


def _nothing_to_do(plan: Plan, out: TextIO, log: TextIO) -> int:
    totals = plan.ledger.totals()
    num_changed = num_named(plan.work.changed)
    kept = f", {num_changed} changed and skipped" if num_changed else ""
    print(
        f"nothing to do: {_complete(plan.num_complete)}{kept}; "
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
            f"{counted(rows, 'row')} stored; {num_named(a.shard for a in assignments):,} of "
            f"{counted(num_named(plan.shards), 'shard')} to open",
            file=log,
            flush=True,
        )


def _execute(
    plan: Plan,
    ledger_writer: LedgerWriter,
    assignments: Sequence[Assignment],
    started: float,
    log: TextIO,
) -> tuple[Occupancy, Streamed]:
    """Run the pipeline to its end and check that nothing was lost."""
    cluster, placement = plan.resolved.cluster, plan.resolved.placement
    prices = load_prices(plan.config.run, cluster.gpu_name)
    done = Streamed()
    if assignments:
        done = stream(plan, ledger_writer, assignments, prices, log)
    ledger_writer.finish()
    occupancy = Occupancy(
        wall_sec=time.monotonic() - started,
        first_text_sec=None if done.first_at is None else done.first_at - started,
        cpus=cluster.cpus,
        gpus=placement.gpus,
        prices=prices,
    )
    return occupancy, done


def compacted(ledger_writer: LedgerWriter, rows_per_part: int, log: TextIO) -> bool:
    """Merge small parts; False where the storage failed meanwhile, told on `log`.

    All is stored and proven by now: whoever kills this loses nothing, and a run that could not
    merge is done all the same. It stays open, so that the next one looks for what this one began.
    """
    try:
        found = ledger_writer.compact(rows_per_part)
    except StorageError as exc:
        print(
            f"note: all rows are stored, small parts are not merged: {exc}; "
            "`hired verify OUTPUT --compact` does that",
            file=log,
            flush=True,
        )
        return False
    if found.before:
        print(f"{found.before:,} small parts are {found.after:,} now", file=log, flush=True)
    return True


def _interrupted(plan: Plan, ledger_writer: LedgerWriter) -> JobInterruptedError:
    """What there is and what is left, for the last line of the screen."""
    rows, wanted = ledger_writer.ledger.totals().rows, plan.num_rows
    left = "" if wanted is None else f", {max(0, wanted - rows):,} are to do"
    stored = f"{counted(rows, 'row')} {'is' if rows == 1 else 'are'} stored"
    where = redact_url(plan.sink.url)
    return JobInterruptedError(
        f"interrupted: {stored} at {where}{left}; the same command goes on from there"
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
