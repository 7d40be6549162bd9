"""Deleting the results of an output, so that being killed half-way leaves nothing half-deleted."""

from __future__ import annotations

from pipeline.ledger.files import remove_ledger
from pipeline.ledger.identity import CLEARING, IDENTITY
from pipeline.sink import KINDS, REPORT, Sink


def clear(sink: Sink) -> None:
    """Delete every part, the report and the ledger; nothing else that may lie in the folder."""
    sink.put(CLEARING, b"")
    finish_clearing(sink)


def finish_clearing(sink: Sink) -> None:
    """Go on where a run was killed while it deleted; do nothing otherwise."""
    if not sink.exists(CLEARING):
        return
    for kind in KINDS:
        for path in sink.parts(kind):
            sink.remove(path)
    sink.remove(REPORT)
    remove_ledger(sink)
    sink.remove(IDENTITY)
    sink.remove(CLEARING)
