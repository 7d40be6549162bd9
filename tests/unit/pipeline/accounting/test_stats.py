"""One record per batch and stage, attached once; the columns that are promised."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.accounting.cost import Prices
from pipeline.accounting.stats import STATS_SCHEMA, Meter, peak_memory_bytes

PRICES = Prices(gpu_hour_usd=3600.0, cpu_hour_usd=36.0)  # 1 and 0.01 USD per second


def meter(**given: Any) -> Meter:
    return Meter(run_id="r", stage="select", prices=PRICES, **given)


def row(error: str | None = None, shard_rows: int | None = None) -> dict[str, Any]:
    return {"error_code": error, "shard_rows": shard_rows, "stats": None}


def test_columns_are_those_promised() -> None:
    assert STATS_SCHEMA.names == [
        "run_id",
        "stage",
        "batch_id",
        "node",
        "worker",
        "device",
        "started_at",
        "wall_sec",
        "busy_sec",
        "idle_sec",
        "num_images",
        "visual_tokens_dense",
        "visual_tokens_kept",
        "output_tokens",
        "flags",
        "carried_lost",
        "passed_over",
        "image_notes",
        "prefill_sec",
        "decode_sec",
        "ttft_sec",
        "slots",
        "kv_bytes",
        "peak_memory_bytes",
        "gpu_sec",
        "cost_usd",
        "errors",
    ]


def test_a_batch_is_recorded_once_on_its_first_row() -> None:
    rows = [row(), row("image_empty"), row(), row(shard_rows=3)]
    rows[0]["stats"] = ["{}"]
    with meter(gpus=0.5, cpus=2.0).batch(rows) as record:
        rows[2]["error_code"] = "generation_failed"
        record["output_tokens"] = 7
    assert [len(r["stats"] or []) for r in rows] == [2, 0, 0, 0]
    found = json.loads(rows[0]["stats"][1])
    assert set(found) <= set(STATS_SCHEMA.names)
    assert (found["run_id"], found["stage"], found["device"]) == ("r", "select", "cpu")
    assert (found["num_images"], found["errors"], found["output_tokens"]) == (3, 1, 7)
    assert found["wall_sec"] == found["busy_sec"] > 0
    assert found["gpu_sec"] == pytest.approx(found["busy_sec"] * 0.5)
    # Half a GPU and two CPUs: 0.5 * 1 + 2 * 0.01 USD per second.
    assert found["cost_usd"] == pytest.approx(found["busy_sec"] * 0.52)
    assert found["peak_memory_bytes"] > 2**20


def test_batches_have_their_own_ids_and_idle_time_in_between() -> None:
    one, rows = meter(), [[row()], [row()]]
    for batch in rows:
        with one.batch(batch):
            pass
    first, second = (json.loads(batch[0]["stats"][0]) for batch in rows)
    assert first["idle_sec"] == pytest.approx(0, abs=1e-4)
    assert second["idle_sec"] > 0
    assert first["batch_id"] != second["batch_id"]
    assert first["worker"] == second["worker"]
    gap = second["started_at"] - first["started_at"]
    assert second["idle_sec"] <= gap + 0.01


def test_a_batch_without_rows_is_not_recorded() -> None:
    rows: list[dict[str, Any]] = []
    with meter().batch(rows):
        pass
    assert rows == []


def test_rows_that_come_up_in_the_block_are_counted() -> None:
    """As in the read stage, which has none before."""
    rows: list[dict[str, Any]] = []
    with meter().batch(rows):
        rows += [row("image_missing"), row()]
    record = json.loads(rows[0]["stats"][0])
    assert (record["num_images"], record["errors"]) == (2, 1)


def test_memory_is_of_this_process() -> None:
    before = peak_memory_bytes("cpu")
    ballast = bytearray(64 * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert peak_memory_bytes("cpu") >= before
    assert 2**20 < before < 2**40
