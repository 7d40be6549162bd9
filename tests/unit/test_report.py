"""report.json and the summary, from parts written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import InputConfig, JobConfig, OutputConfig, RunConfig
from pipeline.cost import Prices
from pipeline.placement import Cluster, place
from pipeline.plan import Plan, make_plan
from pipeline.records import CAPTIONS_SCHEMA, QUARANTINE_SCHEMA
from pipeline.report import Occupancy, build_report, summary
from pipeline.rows import to_table
from pipeline.stats import STATS_SCHEMA

GPUS = Cluster(cpus=10.0, gpus=2, gpu_name="L4")
PRICES = Prices(gpu_hour_usd=3.6, cpu_hour_usd=0.36)


def record(stage: str, worker: str, busy: float, idle: float, **more: Any) -> dict[str, Any]:
    return {"stage": stage, "worker": worker, "busy_sec": busy, "idle_sec": idle} | more


STATS = [
    record("partition", "n:1", 1.0, 0.0, num_images=3, errors=1),
    record("partition", "n:2", 2.0, 1.0, num_images=2, errors=0),
    record(
        "select", "n:3", 4.0, 0.0, num_images=3, visual_tokens_dense=900, visual_tokens_kept=180
    ),
    record("select", "n:3", 4.0, 2.0, num_images=1, visual_tokens_dense=100, visual_tokens_kept=20),
    record("generate", "n:4", 30.0, 10.0, output_tokens=250, peak_memory_bytes=7),
]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(b"x")
    plan = make_plan(
        JobConfig(
            input=InputConfig(input=[str(tmp_path / "in")]),
            output=OutputConfig(output=str(tmp_path / "out")),
        )
    )
    captions = [{"image_id": f"a#{i}"} for i in range(6)]
    bad = [{"image_id": f"b#{i}", "error_code": c} for i, c in enumerate(["x", "y", "x"])]
    for part, rows in (("part-0.parquet", captions[:2]), ("part-1.parquet", captions[2:])):
        plan.sink.write("captions", part, to_table(rows, CAPTIONS_SCHEMA), {})
    plan.sink.write("quarantine", "part-0.parquet", to_table(bad, QUARANTINE_SCHEMA), {})
    plan.sink.write("stats", "part-0.parquet", to_table(STATS[:3], STATS_SCHEMA), {"a": 1})
    plan.sink.write("stats", "part-1.parquet", to_table(STATS[3:], STATS_SCHEMA), {})
    return plan


def report_of(plan: Plan, cluster: Cluster = GPUS, wall_sec: float = 50.0) -> dict[str, Any]:
    placement = place(RunConfig(), cluster)
    occupancy = Occupancy(wall_sec=wall_sec, cpus=cluster.cpus, gpus=placement.gpus, prices=PRICES)
    return build_report(plan, "run-1", plan.sink, occupancy, placement, cluster)


def test_counts_and_rates(plan: Plan) -> None:
    report = report_of(plan)
    assert (report["rows"], report["captioned"], report["quarantined"]) == (9, 6, 3)
    assert report["quarantined_by_code"] == {"x": 2, "y": 1}
    assert (report["images"], report["shards"]) == (4, 1)  # one of five did not decode
    assert report["images_per_sec"] == pytest.approx(4 / 50)
    assert report["images_per_gpu_sec"] == pytest.approx(4 / (2 * 50))
    assert report["output_tokens_per_sec"] == pytest.approx(250 / 50)
    assert (report["visual_tokens_dense"], report["visual_tokens_kept"]) == (1000, 200)


def test_cost_is_of_all_that_was_held_all_the_time(plan: Plan) -> None:
    report = report_of(plan)
    # 50 s of 2 GPUs at 0.001 USD/s and 10 CPUs at 0.0001 USD/s, over 4 images.
    assert report["usd"] == pytest.approx(0.15)
    assert report["usd_per_1000_images"] == pytest.approx(37.5)


def test_stages_are_summed_with_their_utilisation(plan: Plan) -> None:
    stages = report_of(plan)["stages"]
    assert list(stages) == ["partition", "select", "generate"]
    assert stages["partition"]["utilisation"] is None  # tasks do not know their idle time
    assert stages["select"]["utilisation"] == pytest.approx(8 / 10)
    assert (stages["partition"]["workers"], stages["select"]["workers"]) == (2, 1)
    assert (stages["partition"]["batches"], stages["partition"]["errors"]) == (2, 1)
    assert stages["generate"]["peak_memory_bytes"] == 7
    assert "output_tokens" not in stages["partition"]


def test_the_report_is_json_and_tells_what_made_it(plan: Plan) -> None:
    report = report_of(plan)
    plan.sink.write_report(report)
    stored = json.loads(Path(plan.sink.url, "report.json").read_text())
    assert stored == report
    assert stored["fingerprint"] == plan.fingerprint
    assert stored["fingerprint_fields"]["method"] == "hired"
    assert {"python", "torch", "transformers", "ray"} <= set(stored["versions"])
    assert stored["cluster"] == {"cpus": 10.0, "gpus": 2, "gpu_name": "L4"}


def test_without_a_gpu_and_without_rows(tmp_path: Path, plan: Plan) -> None:
    plan.sink.clear()
    report = report_of(plan, Cluster(cpus=2.0, gpus=0))
    assert (report["rows"], report["images_per_gpu_sec"]) == (0, None)
    assert report["usd_per_1000_images"] is None
    assert "USD - per 1000 images" in summary(report)


def test_summary(plan: Plan) -> None:
    lines = [line.strip() for line in summary(report_of(plan)).splitlines()]
    assert lines[:7] == [
        "rows  9 from 1 shards",
        "captioned  6",
        "quarantined  3 (x 2, y 1)",
        "visual tokens  200 kept of 1,000 (20%)",
        "time  50.0 s, 0.08 images/s, 0.04 images per GPU-second",
        "text  250 tokens, 5.0 /s",
        "stages  partition 3.0 s busy, select 8.0 s busy (80%), generate 30.0 s busy (75%)",
    ]
    prices = "(GPU-hour 3.60, CPU-hour 0.360)"
    assert lines[7] == f"cost  USD 37.5000 per 1000 images, USD 0.1500 in all {prices}"
    assert lines[8] == f"fingerprint  {plan.fingerprint}"
    assert lines[9] == f"output  {plan.sink.url}"
