"""One statistics record per batch and stage.

Records ride along with the rows, attached to their batch's first row, until the write stage stores
both: a batch that Ray runs twice is counted once, and no collector has to survive.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from pipeline.accounting.cost import Prices

STAGES: Final = ("read", "partition", "select", "generate", "write")
ACTOR_STAGES: Final = ("select", "generate")

STATS_SCHEMA: Final = pa.schema(
    [
        pa.field("run_id", pa.string()),
        pa.field("stage", pa.string()),
        pa.field("batch_id", pa.string()),
        pa.field("node", pa.string()),
        pa.field("worker", pa.string()),
        pa.field("device", pa.string()),
        pa.field("started_at", pa.float64()),  # Unix time, seconds
        pa.field("wall_sec", pa.float64()),
        pa.field("busy_sec", pa.float64()),
        pa.field("idle_sec", pa.float64()),  # of the worker, since an earlier record told of it
        pa.field("num_images", pa.int64()),
        pa.field("visual_tokens_dense", pa.int64()),
        pa.field("visual_tokens_kept", pa.int64()),
        pa.field("output_tokens", pa.int64()),
        pa.field("flags", pa.string()),  # JSON object, flag -> texts; null without any
        pa.field("carried_lost", pa.int64()),  # values that are null since they did not fit
        pa.field("passed_over", pa.string()),  # JSON object, reason -> members of tars; likewise
        pa.field("image_notes", pa.string()),  # JSON object, kind of note -> images; likewise
        pa.field("prefill_sec", pa.float64()),
        pa.field("decode_sec", pa.float64()),
        pa.field("ttft_sec", pa.float64()),  # mean over the rows, waiting for a slot included
        pa.field("slots", pa.int64()),
        pa.field("kv_bytes", pa.int64()),
        pa.field("peak_memory_bytes", pa.int64()),
        pa.field("gpu_sec", pa.float64()),
        pa.field("cost_usd", pa.float64()),
        pa.field("errors", pa.int64()),
    ]
)


class IdleClock:
    """Tells idle seconds from busy ones, for batches that may overlap; pickled, begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._told = 0.0

    def __reduce__(self) -> tuple[type[IdleClock], tuple[()]]:
        return IdleClock, ()

    def begin(self) -> float:
        """The time now; the first call begins the count."""
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since = now
            return now

    def idle(self, busy_sec: float) -> float:
        """Seconds since the count began that were neither busy nor told as idle before.

        All batches together add up to the time that has passed, whichever order they end in, but
        for what was told as idle while a batch that was under way had not told its busy seconds.
        """
        with self._lock:
            assert self._since is not None, "idle before begin"
            idle = max(0.0, time.monotonic() - self._since - self._told - busy_sec)
            self._told += busy_sec + idle
            return idle


@dataclass(frozen=True, kw_only=True)
class Meter:
    """Measures the batches of one stage instance.

    Attributes:
        gpus, cpus: what the instance occupies while busy, for `gpu_sec` and `cost_usd`.
    """

    run_id: str
    stage: str
    prices: Prices
    device: str = "cpu"
    gpus: float = 0.0
    cpus: float = 1.0
    _idle_clock: IdleClock = field(default_factory=lambda: IdleClock())

    @contextmanager
    def batch(self, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Times the block; it may add columns to the record it is given.

        A stage that runs several batches at once says itself how many seconds of its device each
        took, as `busy_sec`. The record goes to `rows[0]["stats"]`; a batch without rows is not
        recorded.
        """
        record: dict[str, Any] = {"started_at": time.time()}
        failed = _num_failed(rows)
        started = self._idle_clock.begin()
        yield record
        record["wall_sec"] = time.monotonic() - started
        record.setdefault("busy_sec", record["wall_sec"])
        record["idle_sec"] = self._idle_clock.idle(record["busy_sec"])
        record.setdefault("num_images", sum(row["shard_rows"] is None for row in rows))
        record["errors"] = _num_failed(rows) - failed
        if rows:
            rows[0]["stats"] = [*(rows[0]["stats"] or []), json.dumps(self._complete(record))]

    def _complete(self, record: dict[str, Any]) -> dict[str, Any]:
        busy = record["busy_sec"]
        return record | {
            "run_id": self.run_id,
            "stage": self.stage,
            "batch_id": uuid.uuid4().hex[:12],
            "node": socket.gethostname(),
            "worker": f"{socket.gethostname()}:{os.getpid()}",
            "device": self.device,
            "gpu_sec": busy * self.gpus,
            "cost_usd": self.prices.usd(seconds=busy, gpus=self.gpus, cpus=self.cpus),
            "peak_memory_bytes": record.get("peak_memory_bytes", peak_memory_bytes(self.device)),
        }


def _num_failed(rows: list[dict[str, Any]]) -> int:
    return sum(row["error_code"] is not None for row in rows)


def peak_memory_bytes(device: str) -> int:
    """Of this process: allocated on the GPU, or resident on the CPU."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
