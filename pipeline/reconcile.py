"""The proof at the end: rows in = captions + quarantine, and no `image_id` twice."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import ReconcileError
from pipeline.sink import Sink
from pipeline.sources import Shard

SHOWN = 5


@dataclass
class Tally:
    """Row counts by shard, added up from the write stage's summaries as they come in."""

    shards: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, summary: pa.Table) -> None:
        """`summary` is a table of `SUMMARY_SCHEMA`."""
        for row in summary.to_pylist():
            self.shards[row.pop("shard")].update(row)

    def total(self, name: str) -> int:
        """Sum over shards of "captions", "quarantined", "shard_rows" or "markers"."""
        return sum(counts[name] for counts in self.shards.values())


def reconcile(tally: Tally, shards: Iterable[Shard], sink: Sink) -> None:
    """Check what was read against what is stored.

    Args:
        tally: as the write stage reported.
        shards: all that the plan wanted read; several may share a name (loose images).

    Raises:
        ReconcileError: naming the shards where something is missing, or an id that occurs twice.
    """
    planned = Counter(shard.name for shard in shards)
    problems = [
        problem
        for name in sorted({*planned, *tally.shards})
        if (problem := _problem(name, planned[name], tally.shards[name]))
    ]
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ReconcileError(f"rows do not add up: {'; '.join(problems[:SHOWN])}{more}")
    _check_stored(tally, sink)


def _problem(name: str, planned: int, counts: Counter[str]) -> str | None:
    stored = counts["captions"] + counts["quarantined"]
    if counts["markers"] != planned:
        return f"{name}: read to its end {counts['markers']} times, planned {planned}"
    if stored != counts["shard_rows"]:
        return f"{name}: {counts['shard_rows']} rows in, {stored} stored"
    return None


def _check_stored(tally: Tally, sink: Sink) -> None:
    """The parts themselves: as many rows as reported, every id once."""
    hashes: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for kind, reported in (("captions", "captions"), ("quarantine", "quarantined")):
        stored: Counter[str] = Counter()
        for table in sink.read(kind, ["image_id", "shard"]):
            hashes.append(_hashes(table["image_id"]))
            stored.update(table["shard"].to_pylist())
        _compare(kind, stored, Counter({s: c[reported] for s, c in tally.shards.items()}))
    every = np.sort(np.concatenate(hashes)) if hashes else np.empty(0, np.int64)
    repeated = set(every[1:][every[1:] == every[:-1]].tolist())
    if repeated:
        raise ReconcileError(f"image_id occurs twice: {', '.join(_named(repeated, sink))}")


def _compare(kind: str, stored: Counter[str], reported: Counter[str]) -> None:
    wrong = [
        f"{name}: {stored[name]} rows are stored, {reported[name]} were reported"
        for name in sorted({*stored, *reported})
        if stored[name] != reported[name]
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise ReconcileError(f"{kind}: {'; '.join(wrong[:SHOWN])}{more}")


def _hashes(ids: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """64 bits per id; within one run, stable over processes."""
    digests = (hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids.to_pylist())
    return np.frombuffer(b"".join(digests), dtype=np.int64)


def _named(repeated: set[int], sink: Sink) -> list[str]:
    """The ids behind some hashes, found by a second look at the parts."""
    found: set[str] = set()
    for kind in ("captions", "quarantine"):
        for table in sink.read(kind, ["image_id"]):
            ids = pc.unique(table["image_id"])
            marks = _hashes(ids).tolist()
            found |= {i for i, h in zip(ids.to_pylist(), marks, strict=True) if h in repeated}
    return sorted(found)[:SHOWN]
