"""`hired verify --compact`: small parts merged between runs."""

from __future__ import annotations

from typing import TextIO

from pipeline.ledger.compaction import Compacted, adopt_merges, compact, end_merging
from pipeline.ledger.lease import Lease
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.snapshots import LedgerLog, load_ledger
from pipeline.parts.sink import Sink

__all__ = ["merge_held", "merge_parts"]


def merge_parts(sink: Sink, run_id: str, rows_per_part: int, log: TextIO) -> Compacted:
    """Holds the output as a run does, so that the next run finishes what is killed here.

    Raises:
        BusyError: if a run is writing to the output.
        StorageError: if the storage fails; nothing is lost.
    """
    with Lease(store=sink, run_id=run_id, log=log) as lease:
        ledger = load_ledger(sink) or Ledger()
        may_write = lease.fence.check
        ledger_log = LedgerLog(store=sink, ledger=ledger, run_id=run_id, may_write=may_write)
        return merge_held(sink, ledger_log, rows_per_part)


def merge_held(sink: Sink, ledger_log: LedgerLog, rows_per_part: int) -> Compacted:
    """As `merge_parts`, of an output that the caller holds."""
    ledger, run_id = ledger_log.ledger, ledger_log.run_id
    others = tuple(each for each in ledger.open_runs if each != run_id)
    adopt_merges(sink, ledger, ledger_log.put)
    ledger.open_runs = (*others, run_id)
    ledger_log.snapshot()
    end_merging(sink)
    compacted = compact(sink, ledger_log, rows_per_part=rows_per_part, at_least=2)
    ledger.open_runs = others
    ledger_log.snapshot()
    return compacted
