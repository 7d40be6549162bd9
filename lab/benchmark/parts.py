"""The parts of a benchmark run, each from a subject to plain figures."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.benchmark.contestants.registry import Entry
from lab.benchmark.contestants.subject import Setting, Subject
from lab.benchmark.measurements.contest import Measurement, Results
from lab.benchmark.measurements.peak import peak_memory
from lab.benchmark.measurements.stages import partition_stage, vision_stage
from lab.benchmark.measurements.summary import summarise

Save = Callable[[dict[str, Any]], None]
_BATCH = 8


def contest(
    subject: Subject,
    entries: Sequence[Entry],
    images: Sequence[bytes],
    *,
    repeats: int,
    before: Mapping[str, Any] | None,
    save: Save,
) -> dict[str, Any]:
    """Interleaved runs of `entries`; `save` gets what there is after every repeat.

    Args:
        before: what an earlier run of the same setting saved, to go on from.
    """
    contestants = {entry.name: entry.build(subject) for entry in entries}
    on_gpu = subject.device.type == "cuda"
    measurement = Measurement(
        contestants,
        images,
        warm_up=_BATCH,
        exclusive=on_gpu,
        save=lambda results: save(results.to_json() | {"summary": summarise(results)}),
    )
    results = Results.from_json(before) if before else Results()
    results = measurement.run(repeats, results)
    peaks = {} if on_gpu else cpu_peaks(subject.setting, entries, images[:_BATCH])
    known = {name: found.get("peak_bytes") for name, found in peaks.items()}
    return results.to_json() | {"peaks": peaks, "summary": summarise(results, known)}


def cpu_peaks(
    setting: Setting, entries: Sequence[Entry], images: Sequence[bytes]
) -> dict[str, dict[str, Any]]:
    """Peak memory of each contestant, each in a process of its own."""
    found = {}
    for entry in entries:
        print(f"peak memory of {entry.name}", file=sys.stderr, flush=True)
        found[entry.name] = peak_memory(setting, entry, images)
    return found


def stages(subject: Subject, images: Sequence[bytes], *, repeats: int) -> dict[str, Any]:
    """The partition stage, and the vision stage over four images at a budget of 0.2."""
    vision = vision_stage(subject, images[:4], budget=0.2, repeats=repeats)
    return {"partition": partition_stage(subject, repeats=repeats), "vision": vision}
