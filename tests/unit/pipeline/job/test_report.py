"""report.json and the summary, of an output that two runs have written."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.accounting.cost import Prices
from pipeline.accounting.stats import STATS_SCHEMA
from pipeline.copies.registry import Registry
from pipeline.job.plan import Plan, make_plan
from pipeline.job.report import Occupancy, build_report, summary
from pipeline.ledger.writer import LedgerWriter
from pipeline.parts.sink import REPORT
from pipeline.resources.placement import Cluster, place
from pipeline.rows.row import to_table
from pipeline.settings.config import InputConfig, JobConfig, OutputConfig, RunConfig
from pipeline.stages.fill import FillStage
from tests.support.one_run import Run, writer
from tests.support.resolved import resolved

GPUS = Cluster(cpus=10.0, gpus=2, gpu_name="L4")
PRICES = Prices(gpu_hour_usd=3.6, cpu_hour_usd=0.36)


def record(stage: str, worker: str, busy: float, idle: float, **more: Any) -> dict[str, Any]:
    return {"stage": stage, "worker": worker, "busy_sec": busy, "idle_sec": idle} | more


FLAGGED = '{"truncated": 1200, "loop": 2}'
NOTED = '{"frame": 1, "end_missing": 1}'
STATS = [
    record("read", "n:0", 1.0, 0.0, passed_over='{"hidden": 2, ".npy": 4}'),
    record("read", "n:0", 1.0, 0.0, passed_over='{".npy": 1}'),
    record("partition", "n:1", 1.0, 0.0, num_images=3, errors=1, image_notes='{"frame": 2}'),
    record("partition", "n:2", 2.0, 1.0, num_images=2, errors=0, image_notes=NOTED),
    record(
        "select", "n:3", 4.0, 0.0, num_images=3, visual_tokens_dense=900, visual_tokens_kept=180
    ),
    record("select", "n:3", 4.0, 2.0, num_images=1, visual_tokens_dense=100, visual_tokens_kept=20),
    record("generate", "n:4", 30.0, 10.0, output_tokens=250, peak_memory_bytes=7, flags=FLAGGED),
    record("generate", "n:4", 0.0, 0.0, output_tokens=0, flags='{"loop": 1}'),
]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "in").mkdir()
    for name in "abc":
        table = pa.table({"image": [f"{name}{i}".encode() for i in range(3)]})
        pq.write_table(table, tmp_path / f"in/{name}.parquet")
    config = JobConfig(
        input=InputConfig(input=[str(tmp_path / "in")]),
        output=OutputConfig(output=str(tmp_path / "out")),
    )
    return make_plan(resolved(config))


@pytest.fixture
def ledger_writer(plan: Plan) -> LedgerWriter:
    """Two shards captioned the night before, the third now, with a failure each time."""
    before = Run(run_id="run-0", shards=plan.shards[:2], bad=frozenset({"b.parquet#2"}))
    before.play(plan.sink)
    run = Run(run_id="run-1", shards=plan.shards, bad=frozenset({"c.parquet#0"}))
    ledger_writer = run.play(plan.sink)
    for path in plan.sink.parts("stats"):  # how long writing took is not known by heart
        plan.sink.remove(path)
    plan.sink.write("stats/part-run-0-0.parquet", to_table(STATS, STATS_SCHEMA), {})
    for number, stats in enumerate((STATS[:3], STATS[3:])):
        path = f"stats/part-run-1-{number}.parquet"
        plan.sink.write(path, to_table(stats, STATS_SCHEMA), {"a": number})
    return ledger_writer


def report_of(
    plan: Plan,
    ledger_writer: LedgerWriter,
    cluster: Cluster = GPUS,
    fill: FillStage | None = None,
) -> dict[str, Any]:
    placement = place(RunConfig(), cluster)
    occupancy = Occupancy(wall_sec=50.0, cpus=cluster.cpus, gpus=placement.gpus, prices=PRICES)
    there = replace(plan.resolved, cluster=cluster, placement=placement)
    return build_report(replace(plan, resolved=there), ledger_writer, occupancy, fill)


def test_counts_and_rates(plan: Plan, ledger_writer: LedgerWriter) -> None:
    report = report_of(plan, ledger_writer)
    assert (report["rows"], report["captioned"], report["quarantined"]) == (9, 7, 2)
    assert report["quarantined_by_code"] == {"generation_failed": 2}
    assert report["opened"] == {
        "shards": 1,
        "rows": 3,
        "quarantined": 1,
        "quarantined_by_code": {"generation_failed": 1},
    }
    assert (report["images"], report["shards"]) == (4, 3)  # of this run's statistics
    assert report["images_per_sec"] == pytest.approx(4 / 50)
    assert report["images_per_gpu_sec"] == pytest.approx(4 / (2 * 50))
    assert report["output_tokens_per_sec"] == pytest.approx(250 / 50)
    assert (report["visual_tokens_dense"], report["visual_tokens_kept"]) == (1000, 200)


def test_flags_are_those_of_this_run(plan: Plan, ledger_writer: LedgerWriter) -> None:
    assert report_of(plan, ledger_writer)["flags"] == {"truncated": 1200, "loop": 3}
    for path in plan.sink.parts("stats", "run-1"):
        plan.sink.remove(path)
    report = report_of(plan, ledger_writer)
    assert report["flags"] == {} and "  flags  " not in summary(report)
    assert report["image_notes"] == {} and "  image notes  " not in summary(report)


def test_members_of_tars_that_are_no_row_are_told(plan: Plan, ledger_writer: LedgerWriter) -> None:
    report = report_of(plan, ledger_writer)
    assert report["members_passed_over"] == {".npy": 5, "hidden": 2}
    assert "in tars  passed over 5 .npy\n" in summary(report)


def test_notes_are_counted_by_kind(plan: Plan, ledger_writer: LedgerWriter) -> None:
    report = report_of(plan, ledger_writer)
    assert report["image_notes"] == {"end_missing": 1, "frame": 3}
    assert "image notes  end_missing 1, frame 3" in summary(report)


def test_cost_is_of_all_that_was_held_all_the_time(plan: Plan, ledger_writer: LedgerWriter) -> None:
    report = report_of(plan, ledger_writer)
    # 50 s of 2 GPUs at 0.001 USD/s and 10 CPUs at 0.0001 USD/s, over 4 images.
    assert report["usd"] == pytest.approx(0.15)
    assert report["usd_per_1000_images"] == pytest.approx(37.5)


def test_stages_are_summed_with_their_utilisation(plan: Plan, ledger_writer: LedgerWriter) -> None:
    stages = report_of(plan, ledger_writer)["stages"]
    assert list(stages) == ["read", "partition", "select", "generate"]
    assert stages["partition"]["utilisation"] is None  # tasks do not know their idle time
    assert stages["select"]["utilisation"] == pytest.approx(8 / 10)
    assert (stages["partition"]["workers"], stages["select"]["workers"]) == (2, 1)
    assert (stages["partition"]["batches"], stages["partition"]["errors"]) == (2, 1)
    assert stages["generate"]["peak_memory_bytes"] == 7
    assert "output_tokens" not in stages["partition"]


def test_the_report_is_json_and_tells_what_made_it(plan: Plan, ledger_writer: LedgerWriter) -> None:
    report = report_of(plan, ledger_writer)
    plan.sink.put_json(REPORT, report)
    stored = json.loads(Path(plan.sink.url, "report.json").read_text())
    assert stored == report
    assert stored["fingerprint"] == plan.identity.fingerprint
    assert stored["fingerprint_fields"]["method"] == "distinct"
    assert {"python", "torch", "transformers", "ray"} <= set(stored["versions"])
    assert stored["cluster"] == {"cpus": 10.0, "gpus": 2, "gpu_name": "L4"}


def test_without_a_gpu_and_without_rows(plan: Plan) -> None:
    ledger_writer = Run(run_id="run-1", shards=[]).play(plan.sink)
    report = report_of(plan, ledger_writer, Cluster(cpus=2.0, gpus=0))
    assert (report["rows"], report["images_per_gpu_sec"]) == (0, None)
    assert report["usd_per_1000_images"] is None
    assert "USD - per 1000 images" in summary(report)


@pytest.mark.parametrize("asked", [5, 0])
def test_what_copies_saved_is_estimated(
    plan: Plan, ledger_writer: LedgerWriter, asked: int
) -> None:
    """At 38 s of two stages for 5 rows that were asked, 10 that were not save 76 s."""
    write = writer(plan.sink, ledger_writer.fence)
    counts = Counter(copied=7, near=2, quarantined=3)
    fill = FillStage(
        sink=plan.sink,
        registry=Registry(),
        write=write,
        rejected=frozenset(),
        rows_per_part=4,
        counts=counts,
    )
    stats = [record("generate", "n:4", 0.0, 0.0, num_images=asked + 10, cost_usd=0.5)]
    plan.sink.write("stats/part-run-1-9.parquet", to_table(stats, STATS_SCHEMA), {"a": 9})
    report = report_of(plan, ledger_writer, fill=fill)
    seconds, usd = (76.0, 1.0) if asked else (None, None)
    assert report["duplicates"] == {
        "copied": 7,
        "near": 2,
        "quarantined": 3,
        "saved_device_sec_estimated": seconds,
        "saved_usd_estimated": usd,
    }
    line = "duplicates  7 captions copied, 2 of them near ones, 3 quarantined as their first"
    saved = "; saved about 76.0 s of the model, USD 1.0000 (estimated)" if asked else ""
    assert f"{line}{saved}\n" in summary(report)


def test_summary(plan: Plan, ledger_writer: LedgerWriter) -> None:
    lines = [line.strip() for line in summary(report_of(plan, ledger_writer)).splitlines()]
    assert lines[:10] == [
        "rows  9 from 3 shards, 3 of them in the 1 opened now",
        "in tars  passed over 5 .npy",
        "captioned  7",
        "quarantined  2 (generation_failed 2)",
        "visual tokens  200 kept of 1,000 (20%); budget 0.2: 144 of at most 720 per image; "
        "these images have fewer",
        "time  50.0 s, 0.08 images/s, 0.04 images per GPU-second",
        "text  250 tokens, 5.0 /s",
        "flags  truncated 1,200, loop 3",
        "image notes  end_missing 1, frame 3",
        "stages  busy: read 2.0 s, partition 3.0 s, select 8.0 s (80% of its actors' time), "
        "generate 30.0 s (75% of its actors' time)",
    ]
    prices = "(GPU-hour 3.60, CPU-hour 0.360)"
    assert lines[10] == f"cost  USD 37.5000 per 1000 images, USD 0.1500 in all {prices}"
    assert lines[11] == f"fingerprint  {plan.identity.fingerprint}"
    assert lines[12] == f"output  {plan.sink.url}"
