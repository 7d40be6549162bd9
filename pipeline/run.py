"""A job from configuration to report."""

from __future__ import annotations

import sys
import time
import uuid
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any, TextIO

import ray

from pipeline.config import JobConfig
from pipeline.cost import load_prices
from pipeline.errors import EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS
from pipeline.graph import build, set_up_ray_data
from pipeline.placement import Cluster, Placement, place
from pipeline.plan import Plan, make_plan
from pipeline.progress import ProgressPrinter, Reporter, start_board
from pipeline.reconcile import Tally, reconcile
from pipeline.report import Occupancy, build_report, summary
from pipeline.stages.context import StageContext
from pipeline.stages.write import Provenance
from pipeline.strikes import start_strikes


def run_job(
    config: JobConfig, *, started: float, out: TextIO = sys.stdout, log: TextIO = sys.stderr
) -> int:
    """Run a job; returns the exit code.

    The summary goes to `out`, progress to `log`. Ray must be running already: see
    `pipeline.session`.

    Args:
        started: `time.monotonic()` when the process began to hold its machines: cost counts from
            there, so that starting Ray is included.

    Raises:
        JobError: with its exit code and one line on what went wrong.
    """
    plan = make_plan(config)
    cluster = Cluster.of_ray()
    placement = place(config.run, cluster)
    plan.sink.check_writable()
    if config.output.overwrite:
        plan.sink.clear()
    run_id = new_run_id()
    occupancy = _execute(plan, run_id, placement, cluster, started, log)
    report = build_report(plan, run_id, plan.sink, occupancy, placement, cluster)
    plan.sink.write_report(report)
    print(summary(report), file=out)
    return _exit_code(report, config.output.max_error_rate, log)


def new_run_id() -> str:
    """Sortable by time, e.g. 20261120T201500-3f9a2c."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def _execute(
    plan: Plan,
    run_id: str,
    placement: Placement,
    cluster: Cluster,
    started: float,
    log: TextIO,
) -> Occupancy:
    """Run the pipeline to its end and check that nothing was lost."""
    prices = load_prices(plan.config.run, cluster.gpu_name)
    board = start_board()
    strikes = start_strikes()
    context = StageContext(
        run_id=run_id, prices=prices, reporter=Reporter(board=board), strikes=strikes
    )
    set_up_ray_data()
    dataset = build(
        plan.config,
        shards=plan.shards,
        options=plan.options,
        spec=plan.spec,
        placement=placement,
        context=context,
        sink=plan.sink,
        provenance=_provenance(plan, run_id),
    )
    usd_per_sec = prices.usd(seconds=1, gpus=placement.gpus, cpus=cluster.cpus)
    printer = ProgressPrinter(
        board,
        total_rows=plan.num_images if plan.options.prompt_column is None else None,
        num_shards=len(plan.shards),
        usd_per_sec=usd_per_sec,
        out=log,
    )
    tally = Tally()
    with printer if plan.config.run.progress else nullcontext():
        for table in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            tally.add(table)
    ray.kill(board)
    ray.kill(strikes.actor)
    reconcile(tally, plan.shards, plan.sink)
    wall_sec = time.monotonic() - started
    return Occupancy(wall_sec=wall_sec, cpus=cluster.cpus, gpus=placement.gpus, prices=prices)


def _provenance(plan: Plan, run_id: str) -> Provenance:
    selection = plan.config.selection
    return Provenance(
        model=plan.config.model.model,
        method=selection.effective_method,
        token_budget=selection.token_budget,
        fingerprint=plan.fingerprint,
        run_id=run_id,
    )


def _exit_code(report: dict[str, Any], max_error_rate: float, log: TextIO) -> int:
    rate = report["quarantined"] / max(1, report["rows"])
    if rate <= max_error_rate:
        return EXIT_DONE
    print(f"{rate:.1%} of the rows are in quarantine, over --max-error-rate", file=log)
    return EXIT_TOO_MANY_BAD_ROWS
