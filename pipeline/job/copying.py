"""Duplicates in a run: the registry filled and ended, rows that wait given their captions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from pipeline.copies.client import RegistryClient, start_registry
from pipeline.ledger.lease import Fence
from pipeline.parts.sink import Sink
from pipeline.settings.config import JobConfig
from pipeline.stages.context import StageContext
from pipeline.stages.fill import FillStage
from pipeline.stages.write import Provenance, WriteStage

__all__ = ["Saving", "fill_stage", "registry_of", "saving"]

Saving = dict[str, Any]
"""What `report.json` says under "duplicates"."""


@contextmanager
def registry_of(config: JobConfig, sink: Sink, log: TextIO) -> Iterator[RegistryClient | None]:
    """Knows every caption that is stored; None where duplicates are kept."""
    if not config.duplicates.copies:
        yield None
        return
    registry = start_registry(config.duplicates.near_duplicates)
    try:
        if known := registry.learn_captions(sink):
            print(f"{known:,} images and prompts are known by their captions", file=log, flush=True)
        yield registry
    finally:
        registry.end()


def fill_stage(
    config: JobConfig,
    context: StageContext,
    sink: Sink,
    provenance: Provenance,
    fence: Fence,
    registry: RegistryClient,
) -> FillStage:
    """Of this run, in the driver."""
    return FillStage(
        sink=sink,
        registry=registry,
        extras=context.extras,
        write=WriteStage(context, sink, provenance, fence),
        rejected=config.quality.rejected,
        rows_per_part=config.output.rows_per_part,
    )


def saving(fill: FillStage | None, stages: dict[str, dict[str, Any]]) -> Saving | None:
    """Rows that were copied, and what they would have taken if each took as long as one of this
    run that was asked: device time alone, an estimate. None where duplicates are kept."""
    if fill is None:
        return None
    copied = fill.counts["copied"] + fill.counts["quarantined"]
    asked = stages.get("generate", {}).get("num_images", 0) - copied
    devices = [stages[name] for name in ("select", "generate") if name in stages]

    def of_copies(column: str) -> float | None:
        return copied * sum(d.get(column, 0) for d in devices) / asked if asked > 0 else None

    return {
        "copied": fill.counts["copied"],
        "near": fill.counts["near"],
        "quarantined": fill.counts["quarantined"],
        "saved_device_sec_estimated": of_copies("busy_sec"),
        "saved_usd_estimated": of_copies("cost_usd"),
    }
