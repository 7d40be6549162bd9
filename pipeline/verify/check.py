"""What is wrong with an output, told by its files alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.ledger.compaction import adopt_merges
from pipeline.ledger.identity import load_identity
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.snapshots import load_ledger
from pipeline.parts.entries import SHARES_KEY, PartEntry
from pipeline.parts.merge_journal import MERGING
from pipeline.parts.sink import ROW_KINDS, WAITING, Sink
from pipeline.rows.errors import StorageError
from pipeline.rows.idsum import IdSum
from pipeline.verify.repeated_ids import find_repeated_ids


@dataclass
class Findings:
    """Everything that is not as it should be, by path or id, each with what is wrong.

    Attributes:
        num_rows: stored and readable.
        incomplete: shards that a run has begun and not finished: no defect, run the job again.
    """

    num_rows: int = 0
    num_parts: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    mislabelled: dict[str, str] = field(default_factory=dict)
    other_fingerprint: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    doubled: dict[str, str] = field(default_factory=dict)
    temporary: dict[str, str] = field(default_factory=dict)
    ledger: dict[str, str] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)

    def problems(self) -> Iterator[tuple[str, str, str]]:
        """(kind, where, what) of each defect."""
        for kind, value in vars(self).items():
            if isinstance(value, dict):
                yield from ((kind, where, what) for where, what in value.items())


def check(sink: Sink) -> Findings:
    """Read every part of the output and compare it with its metadata and with the ledger.

    Memory: the ledger, and 8 bytes per row up to a limit (`doubles`).
    """
    found = Findings()
    identity = load_identity(sink)
    if identity is None:
        found.ledger["_ledger/output.json"] = "is missing"
    ledger = _ledger(sink, found)
    if adopt_merges(sink, ledger, ledger.put):
        found.temporary[MERGING] = "tells of a merging that is under way, or was killed"
    paths = [path for kind in ROW_KINDS for path in sink.parts(kind)]
    entries: dict[str, dict[str, PartEntry]] = {}
    for path in paths:
        shares = _check_part(sink, path, identity.fingerprint if identity else None, found)
        if shares is not None:
            entries[path] = shares
    _check_ledger(ledger, entries, found)
    readable = [path for path in paths if path not in found.unreadable]
    for image_id in sorted(find_repeated_ids(partial(_ids, sink, readable), found.num_rows)):
        found.doubled[image_id] = "is stored more than once"
    for path in sink.temporaries():
        found.temporary[path] = "was left by a writer that was killed"
    for path in sink.parts(WAITING):
        if not any(f"/part-{run_id}-" in path for run_id in ledger.open_runs):
            found.temporary[path] = "waits for a run that has ended"
    return found


def _ledger(sink: Sink, found: Findings) -> Ledger:
    try:
        ledger = load_ledger(sink)
    except StorageError as exc:
        found.ledger["_ledger"] = str(exc)
        return Ledger()
    if ledger is None:
        found.ledger["_ledger"] = "is missing"
    return ledger or Ledger()


def _check_part(
    sink: Sink, path: str, fingerprint: str | None, found: Findings
) -> dict[str, PartEntry] | None:
    """What the part says it holds, by shard; None if it does not read."""
    try:
        metadata = sink.metadata(path)
        table = sink.read_part(path, ["image_id", "shard"])
    except (StorageError, ValueError) as exc:
        found.unreadable[path] = str(exc)
        return None
    found.num_parts += 1
    found.num_rows += table.num_rows
    entries = [PartEntry.from_json(path, content) for content in metadata[SHARES_KEY]]
    if _by_name(entries) != _counted(table):
        found.mislabelled[path] = "its rows are not those that its metadata names"
    if fingerprint is not None and metadata["fingerprint"] != fingerprint:
        found.other_fingerprint[path] = f"was made under fingerprint {metadata['fingerprint']}"
    return {each.ledger_id: each for each in entries}


def _by_name(entries: list[PartEntry]) -> dict[str, IdSum]:
    sums: dict[str, IdSum] = defaultdict(IdSum)
    for each in entries:
        sums[each.name] += each.share.ids
    return dict(sums)


def _counted(table: Any) -> dict[str, IdSum]:
    ids: dict[str, list[str]] = defaultdict(list)
    for image_id, shard in zip(*(table[c].to_pylist() for c in ("image_id", "shard")), strict=True):
        ids[shard].append(image_id)
    return {shard: IdSum.of(mine) for shard, mine in ids.items()}


def _check_ledger(
    ledger: Ledger, entries: dict[str, dict[str, PartEntry]], found: Findings
) -> None:
    """Shares the ledger names must be there, and the other way round."""
    named: set[tuple[str, str]] = set()
    for record in ledger.records():
        if not record.complete:
            found.incomplete.append(record.ledger_id)
        for share in record.shares:
            named.add((share.path, record.ledger_id))
            there = entries.get(share.path, {}).get(record.ledger_id)
            if there is None or there.share.ids != share.ids:
                what = f"the ledger has {share.ids.rows} rows of {record.ledger_id} here"
                found.missing[share.path] = what
    for path, shares in entries.items():
        if any(f"/part-{run_id}-" in path for run_id in ledger.open_runs):
            continue  # Of a run that did not end well: the next one enters them.
        if extra := [i for i in shares if (path, i) not in named]:
            found.unknown[path] = f"the ledger knows of no rows of {', '.join(sorted(extra)[:3])}"


def _ids(sink: Sink, paths: list[str]) -> Iterator[list[str]]:
    for path in paths:
        yield sink.read_part(path, ["image_id"])["image_id"].to_pylist()
