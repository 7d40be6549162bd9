"""Deleting the results of an output, so that being killed half-way leaves nothing half-deleted.

What is left is a list of the runs that did not end well: their writers may still store a part, for
which the run that goes on here has to look.
"""

from __future__ import annotations

from pipeline.ledger.identity import CLEARING, IDENTITY
from pipeline.ledger.snapshots import load_ledger, remove_ledger
from pipeline.parts.merge_journal import MARK, MERGING
from pipeline.parts.sink import KINDS, REPORT, Sink
from pipeline.rows.errors import StorageError


def clear(sink: Sink) -> tuple[str, ...]:
    """Delete every part, the reports and the ledger; nothing else that may lie in the folder."""
    try:
        ledger = load_ledger(sink)
    except StorageError:
        ledger = None  # It goes anyway.
    sink.put_json(CLEARING, {"open_runs": ledger.open_runs if ledger else ()})
    return finish_clearing(sink)


def finish_clearing(sink: Sink) -> tuple[str, ...]:
    """Go on where a run was killed while it deleted; do nothing otherwise."""
    content = sink.get_json(CLEARING)
    if content is None:
        return ()
    for kind in KINDS:
        for path in (*sink.part_files(kind), f"{kind}/{MARK}"):
            sink.remove(path)
    sink.remove(MERGING)
    for name in sink.reports():
        sink.remove(name)
    sink.remove(REPORT)
    remove_ledger(sink)
    sink.remove(IDENTITY)
    sink.remove(CLEARING)
    return tuple(content["open_runs"])
