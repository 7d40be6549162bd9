"""Runs, stages, throughput and slow shards by hand; how budgets lie on an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.ledger.records import ShardRecord
from pipeline.parts.entries import Share
from pipeline.parts.sink import Sink
from pipeline.report.reading.parts_read import Parts
from pipeline.report.reading.runs import Statistics, look_at_statistics
from pipeline.report.reading.slow_shards import slowest
from pipeline.report.showing.budgets import budget_map, grid_of
from pipeline.report.showing.charts import length_chart, throughput_chart
from pipeline.rows.idsum import IdSum
from tests.support.reported import add_part, stats


def read(folder: Path) -> Statistics:
    sink = Sink(url=str(folder))
    add_part(
        sink,
        "stats",
        [
            stats("select"),
            stats("select", worker="v", started_at=1002.0, idle_sec=1.5),
            stats("generate", started_at=1001.0),
            stats("generate", started_at=1008.0, num_images=2),
        ],
    )
    add_part(sink, "stats", [stats("select", run_id="q", started_at=50.0)], name="part-x-2")
    return look_at_statistics(Parts(sink), {"q": {"usd_per_1000_images": 3.5, "wall_sec": 8.0}})


def test_runs_are_told_apart_and_summed(tmp_path: Path) -> None:
    found = read(tmp_path)
    first, second = found.runs
    assert (first.run_id, first.usd_per_1000, first.wall_sec, first.images) == ("q", 3.5, 8.0, 4)
    assert (second.images, second.output_tokens, second.wall_sec) == (8, 80, 9.0)
    assert second.usd_per_1000 is None
    assert second.busy_usd_per_1000 == pytest.approx(1000 * 4 * 0.002 / 8)
    select, generate = second.stages["select"], second.stages["generate"]
    assert select.utilisation == 1 / 3 and generate.utilisation == 0.5
    assert len(select.workers) == 2 and select.batches == 2
    assert found.busy_by_part == {"part-x-1.parquet": 2.0, "part-x-2.parquet": 0.5}


def test_throughput_is_of_images_that_left_the_language_model(tmp_path: Path) -> None:
    chart = throughput_chart(read(tmp_path).runs[1])
    assert chart is not None and len(chart.bars) == 10
    rates = [round(4 * bar.height) for bar in chart.bars]
    assert rates == [0, 0, 4, 0, 0, 0, 0, 0, 0, 2]
    assert chart.top == "4 images/s" and chart.ticks == ("0", "5 s", "10 s")


def test_a_long_run_takes_no_more_room(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path))
    rows = [stats("generate", started_at=1000.0 + 7 * n) for n in range(5000)]
    add_part(sink, "stats", rows)
    (run,) = look_at_statistics(Parts(sink), {}).runs
    assert len(run.bins) <= 2048 and sum(run.bins.values()) == 20000
    chart = throughput_chart(run)
    assert chart is not None and len(chart.bars) <= 48


def test_seconds_of_a_part_are_shared_out_by_rows() -> None:
    def record(name: str, **rows: int) -> ShardRecord:
        shares = tuple(
            Share(path=f"captions/{part}.parquet", ids=IdSum(n, 1)) for part, n in rows.items()
        )
        return ShardRecord(ledger_id=name, name=name, signature="", shares=shares)

    records = [record("a", p=3), record("b", p=1, q=1), record("c", q=1), record("d", gone=1)]
    busy = {"p.parquet": 8.0, "q.parquet": 12.0}
    found = slowest(records, busy, 10)
    assert [(one.name, one.sec_per_row, one.rows) for one in found] == [
        ("c", 6.0, 1),
        ("b", 4.0, 2),
        ("a", 2.0, 3),
    ]
    assert all(one.shared for one in found)
    assert not slowest([record("a", p=3)], busy, 10)[0].shared
    assert len(slowest(records, busy, 1)) == 1


def test_lengths_are_counted_in_round_steps() -> None:
    lengths = np.zeros(4097, dtype=np.int64)
    lengths[[0, 99, 100]] = 1, 2, 3
    chart = length_chart(lengths, "tokens")
    assert chart is not None and len(chart.bars) == 21
    assert chart.bars[20].note == "100 to 104 tokens: 3 captions"
    assert [bar.height for bar in chart.bars if bar.height] == [1 / 3, 2 / 3, 1]
    lengths[4096] = 9
    longer = length_chart(lengths, "tokens")
    assert longer is not None
    assert longer.bars[-1].note == "4,000 tokens and more: 9 captions"
    assert length_chart(np.zeros(4097, dtype=np.int64), "tokens") is None


@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [(4, (600, 600), (2, 2)), (3, (300, 900), (1, 3)), (3, (900, 300), (3, 1)),
     (2, (400, 900), (1, 2)), (6, (900, 600), (3, 2)), (1, (5, 5), (1, 1)),
     (4, (100_000, 1), (4, 1))],
)  # fmt: skip
def test_the_grid_follows_from_number_and_shape(
    count: int, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    assert grid_of(count, size) == grid


def test_budgets_lie_where_the_sub_images_do() -> None:
    row = {"width": 800, "height": 400, "num_partitions": 3, "partition_budgets": [10, 40, 20],
           "visual_tokens_kept": 70, "visual_tokens_dense": 300}  # fmt: skip
    found = budget_map(row)
    assert found is not None and (found.height, found.full, found.full_share) == (500, 10, 0.25)
    assert found.content == (0, 0, 1000, 500)
    assert [(c.x, c.y, c.side, c.budget, c.share) for c in found.cells] == [
        (0, 0, 500, 40, 1),
        (500, 0, 500, 20, 0.5),
    ]
    padded = budget_map(row | {"height": 200})
    assert padded is not None and padded.content == (0, 125, 1000, 250)
    assert budget_map(row | {"partition_budgets": None}) is None
    assert budget_map(row | {"partition_budgets": [10]}) is None
    assert budget_map(row | {"width": None}) is None
