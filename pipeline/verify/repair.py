"""The ledger made to agree with the parts, and the parts with each other.

Nothing is recomputed here: rows that are lost become missing in the ledger, and the next run of the
job does them again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import TextIO

from pipeline.ledger.compaction import adopt_merges, end_merging
from pipeline.ledger.duplicates import remove_duplicates
from pipeline.ledger.identity import OLD_NAMES, Identity, load_identity
from pipeline.ledger.lease import Lease
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.leftovers import withdraw_void
from pipeline.ledger.records import ShardRecord
from pipeline.ledger.snapshots import LedgerLog, load_ledger, remove_ledger
from pipeline.parts.entries import PartEntry, Share, read_entries
from pipeline.parts.sink import ROW_KINDS, WAITING, Sink
from pipeline.rows.errors import ConfigError, StorageError
from pipeline.rows.idsum import IdSum
from pipeline.verify.check import Findings

DAMAGED = "damaged"


def repair(sink: Sink, found: Findings, run_id: str, log: TextIO) -> None:
    """Mend what `check` found, but for parts of another configuration: these stay as they are.

    Raises:
        BusyError: if a run is writing to the output.
        ConfigError: if the output has lost its settings and the parts are of several.
    """
    with Lease(store=sink, run_id=run_id, log=log) as lease:
        for path in (*sink.temporaries(), *sink.parts(WAITING)):
            sink.remove(path)
        for path in (*found.unreadable, *found.mislabelled):
            _set_aside(sink, path)
        if load_identity(sink) is None:
            _identity_of_parts(sink).save(sink)
        ledger_log = LedgerLog(
            store=sink, ledger=_load(sink), run_id=run_id, may_write=lease.fence.check
        )
        if adopt_merges(sink, ledger_log.ledger, ledger_log.put):
            ledger_log.snapshot()
            end_merging(sink)
        for record in withdraw_void(sink, ledger_log.ledger):
            ledger_log.put(record)
        _agree(sink, ledger_log, _shards_of(found.doubled, sink))
        ledger_log.ledger.open_runs = ()
        ledger_log.snapshot()


def _set_aside(sink: Sink, path: str) -> None:
    """The file is kept, where no reader takes it for a part; its rows will be done again."""
    data = sink.get(path)
    if data is not None:
        sink.put(f"{DAMAGED}/{path.replace('/', '-')}", data)
        sink.remove(path)


def _load(sink: Sink) -> Ledger:
    try:
        return load_ledger(sink) or Ledger()
    except StorageError:
        remove_ledger(sink)
        return Ledger()


def _identity_of_parts(sink: Sink) -> Identity:
    """Of an output that lost its own: the settings are unknown, their fingerprint is not."""
    prints = {sink.metadata(path)["fingerprint"] for path in _paths(sink)}
    if len(prints) != 1:
        found = f"{len(prints)} configurations"
        raise ConfigError(f"output: its parts are of {found}; only a person can choose")
    return Identity(
        fingerprint=prints.pop(), fields={}, input_root=None, version=_version_of_parts(sink)
    )


def _version_of_parts(sink: Sink) -> int:
    """By how the folders of loose images are called, if there are any."""
    entries = read_entries(sink, _paths(sink))
    folders = [entry.name for entry in entries if entry.ledger_id != entry.name]
    is_old = any(not name.endswith("/") for name in folders)
    return OLD_NAMES if is_old else Identity.version


def _paths(sink: Sink) -> list[str]:
    return [path for kind in ROW_KINDS for path in sink.parts(kind)]


def _shards_of(doubled: Iterable[str], sink: Sink) -> set[str]:
    """Names of the shards that ids belong to."""
    wanted = set(doubled)
    names: set[str] = set()
    for path in _paths(sink) if wanted else []:
        table = sink.read_part(path, ["image_id", "shard"])
        pairs = zip(table["image_id"].to_pylist(), table["shard"].to_pylist(), strict=True)
        names.update(shard for image_id, shard in pairs if image_id in wanted)
    return names


def _agree(sink: Sink, ledger_log: LedgerLog, doubled: set[str]) -> None:
    """Make each record name exactly the rows that the parts hold of its shard, each once."""
    stored: dict[str, list[PartEntry]] = defaultdict(list)
    for entry in read_entries(sink, _paths(sink)):
        stored[entry.ledger_id].append(entry)
    for record in list(ledger_log.ledger.records()):
        there = stored.pop(record.ledger_id, [])
        if _by_path(h.share for h in there) != _by_path(record.shares) or record.name in doubled:
            ledger_log.put(_agreed(sink, record, there))
    for ledger_id, there in stored.items():
        blank = ShardRecord(ledger_id=ledger_id, name=there[0].name, signature="")
        ledger_log.put(_agreed(sink, blank, there))


def _by_path(shares: Iterable[Share]) -> dict[str, IdSum]:
    return {share.path: share.ids for share in shares}


def _agreed(sink: Sink, record: ShardRecord, there: list[PartEntry]) -> ShardRecord:
    """Complete only if what is left is what made it complete."""
    codes: Counter[str] = Counter()
    for entry in there:
        codes.update(entry.share.codes)
    shares = tuple(entry.share for entry in there)
    mended = remove_duplicates(sink, replace(record, shares=shares, codes=dict(codes)))
    return replace(mended, complete=record.complete and mended.ids == record.ids)
