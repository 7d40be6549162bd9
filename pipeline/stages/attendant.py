"""The one small actor that a job keeps on its driver's node: how far it is, and who was under way.

Both are counters that stages call without holding them up. One process does for both: every process
of Ray takes a second of a core to start.
"""

from __future__ import annotations

from typing import Any

from pipeline.accounting.progress import ProgressCounter
from pipeline.stages.crash_tracker import CrashTracker, on_this_node

__all__ = ["Attendant", "start_attendant"]


class Attendant(CrashTracker, ProgressCounter):
    """Should it be restarted it remembers nothing: nobody is a suspect, and counts begin anew."""

    def __init__(self) -> None:
        CrashTracker.__init__(self)
        ProgressCounter.__init__(self)


def start_attendant() -> Any:
    """A handle for `ProgressReporter` and `CrashTrackerClient`; it dies with the job."""
    return on_this_node(Attendant)
