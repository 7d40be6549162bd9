"""One pass over statistics: runs and their stages, throughput over time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.accounting.stats import ACTOR_STAGES, STAGES
from pipeline.report.reading.parts_read import Batch, Parts

__all__ = ["Run", "StageSums", "Statistics", "look_at_statistics"]

_MOST_BINS: Final = 2048
_SUMS: Final = (
    *("num_images", "output_tokens", "visual_tokens_dense", "visual_tokens_kept"),
    *("busy_sec", "idle_sec", "cost_usd", "gpu_sec", "errors"),
)
_COLUMNS: Final = ("run_id", "stage", "worker", "started_at", "wall_sec", *_SUMS)


@dataclass
class StageSums:
    """Of one stage in one run."""

    batches: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    workers: set[str] = field(default_factory=set)

    @property
    def utilisation(self) -> float | None:
        """busy / (busy + idle); of stages in actors alone: tasks have no idle time to tell."""
        held = self.sums["busy_sec"] + self.sums["idle_sec"]
        return self.sums["busy_sec"] / held if held else None


@dataclass
class Run:
    """One run of the job.

    Attributes:
        started, ended: Unix time of the first batch's begin and the last one's end.
        bins: images out of the language model by time, `bin_sec` each, counted from 1970.
        report: what the run said of itself when it ended; empty where that is not stored.
    """

    run_id: str
    started: float = float("inf")
    ended: float = float("-inf")
    stages: dict[str, StageSums] = field(default_factory=lambda: defaultdict(StageSums))
    bins: Counter[int] = field(default_factory=Counter)
    bin_sec: int = 1
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def images(self) -> int:
        return int(self.stages["select"].sums["num_images"])

    @property
    def output_tokens(self) -> int:
        return int(self.stages["generate"].sums["output_tokens"])

    @property
    def wall_sec(self) -> float:
        """Start-up included where the run told; else from the first batch to the last."""
        told = self.report.get("wall_sec")
        return float(told) if told else max(0.0, self.ended - self.started)

    @property
    def usd_per_1000(self) -> float | None:
        """With start-up and idle time; None where that is not stored."""
        told = self.report.get("usd_per_1000_images")
        return None if told is None else float(told)

    @property
    def busy_usd_per_1000(self) -> float | None:
        """Of the seconds in which stages were busy: less than what is paid for."""
        usd = sum(stage.sums["cost_usd"] for stage in self.stages.values())
        return 1000 * usd / self.images if self.images else None

    @property
    def images_per_sec(self) -> float | None:
        return self.images / self.wall_sec if self.images and self.wall_sec else None

    @property
    def when(self) -> str:
        return f"{datetime.fromtimestamp(self.started, UTC):%Y-%m-%d %H:%M}"

    def in_order(self) -> Iterator[tuple[str, StageSums, bool]]:
        """(stage, sums, whether its utilisation says something) of the stages there were."""
        for stage in STAGES:
            if self.stages[stage].batches:
                yield stage, self.stages[stage], stage in ACTOR_STAGES


@dataclass
class Statistics:
    """Of one output.

    Attributes:
        runs: by time.
        busy_by_part: seconds by the file name that captions, quarantine and statistics of the same
            rows share.
    """

    runs: list[Run] = field(default_factory=list)
    busy_by_part: dict[str, float] = field(default_factory=dict)


def look_at_statistics(parts: Parts, reports: Mapping[str, Mapping[str, Any]]) -> Statistics:
    """Reads all batches' records.

    Args:
        reports: what runs said of themselves, by run id.
    """
    runs: dict[str, Run] = {}
    busy: Counter[str] = Counter()
    for batch in parts.batches("stats", _COLUMNS):
        busy[batch.path.rpartition("/")[2]] += (
            pc.sum(batch.column("busy_sec", pa.float64())).as_py() or 0
        )
        for run_id in batch.names("run_id").texts:
            run = runs.setdefault(run_id, Run(run_id))
            mine = pc.equal(batch.column("run_id", pa.string()), run_id)
            _add(run, Batch(batch.path, 0, batch.table.filter(mine)))
    for run in runs.values():
        run.report = reports.get(run.run_id, {})
    told = [run for run in runs.values() if run.started < run.ended]
    return Statistics(sorted(told, key=lambda run: (run.started, run.run_id)), dict(busy))


def _add(run: Run, batch: Batch) -> None:
    begun, took = (batch.column(n, pa.float64()).to_numpy() for n in ("started_at", "wall_sec"))
    if len(begun):
        run.started = min(run.started, float(begun.min()))
        run.ended = max(run.ended, float((begun + took).max()))
    stages = batch.names("stage")
    for index, stage in enumerate(stages.texts):
        mine = Batch(batch.path, 0, batch.table.filter(pa.array(stages.codes == index)))
        into = run.stages[stage]
        into.batches += mine.table.num_rows
        into.workers.update(mine.names("worker").texts)
        for name in _SUMS:
            into.sums[name] += pc.sum(mine.column(name, pa.float64())).as_py() or 0
        if stage == "generate":
            _add_times(run, mine)


def _add_times(run: Run, batch: Batch) -> None:
    columns = (
        batch.column(n, pa.float64()).to_pylist() for n in ("started_at", "wall_sec", "num_images")
    )
    for begun, took, images in zip(*columns, strict=True):
        run.bins[int(begun + took) // run.bin_sec] += int(images or 0)
    while len(run.bins) > _MOST_BINS:
        run.bin_sec *= 2
        halved: Counter[int] = Counter()
        for index, images in run.bins.items():
            halved[index // 2] += images
        run.bins = halved
