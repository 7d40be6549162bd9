"""What a run that was killed has left to be done: parts to enter, and rows to be taken out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from pipeline.ledger.ledger import Ledger
from pipeline.ledger.records import ShardRecord
from pipeline.parts.remove_rows import remove_shards
from pipeline.parts.sink import ROW_KINDS, Sink


def unknown_parts(sink: Sink, ledger: Ledger, run_ids: Iterable[str]) -> list[str]:
    """Parts of these runs that no record names."""
    runs = list(run_ids)
    known = ledger.paths_of_runs(runs)
    stored = (path for kind in ROW_KINDS for run in runs for path in sink.parts(kind, run))
    return [path for path in stored if path not in known]


def withdraw_void(sink: Sink, ledger: Ledger) -> list[ShardRecord]:
    """Carry out what records note as withdrawn; returns these records, settled."""
    void: dict[str, list[ShardRecord]] = defaultdict(list)
    pending = list(ledger.select("withdrawn"))
    for record in pending:
        for path in record.withdrawn:
            void[path].append(record)
    for path, records in sorted(void.items()):
        remove_shards(sink, path, records)
    return [replace(record, withdrawn=()) for record in pending]
