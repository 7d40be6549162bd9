"""A stage under guard: a row that keeps killing its process ends in quarantine.

See `pipeline.stages.crash_tracker` for when a row is a suspect and when it is condemned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pyarrow as pa

from pipeline.rows.row import fail, is_active, to_rows, to_table
from pipeline.stages.context import StageContext
from pipeline.stages.crash_tracker import MAX_CRASHES
from pipeline.stages.shared_lock import SharedLock

_NEEDED = ["image_id", "error_code", "shard_rows"]


class Stage(Protocol):
    """Rows in, rows out, and a row that has failed passes untouched."""

    @property
    def name(self) -> str: ...

    def __call__(self, table: pa.Table) -> pa.Table: ...


class GuardedStage:
    """Announces what the stage `kind(context, *args)` begins, and that it has ended.

    Args:
        lock: shared by what runs side by side in this process: a row that is announced alone has
            to be alone, or others would be blamed for what it does.
    """

    def __init__(
        self,
        kind: Callable[..., Stage],
        context: StageContext,
        *args: Any,
        lock: SharedLock | None = None,
    ) -> None:
        self._stage = kind(context, *args)
        self._lock = lock or SharedLock()
        self._name = self._stage.name
        self._crash_tracker = context.crash_tracker

    def __call__(self, table: pa.Table) -> pa.Table:
        ids = _active_ids(table)
        if not ids:
            return self._stage(table)
        with self._lock.shared():
            if self._crash_tracker.begin_together(self._name, ids):
                result = self._stage(table)
                self._crash_tracker.end(self._name, ids)
                return result
        rows = [table.slice(index, 1) for index in range(table.num_rows)]
        return pa.concat_tables([self._alone(row) for row in rows])

    def _alone(self, table: pa.Table) -> pa.Table:
        """A table with one row to work on, or none."""
        with self._lock.exclusive():
            return self._one(table)

    def _one(self, table: pa.Table) -> pa.Table:
        ids = _active_ids(table)
        if ids and self._crash_tracker.begin_alone(self._name, ids[0]) >= MAX_CRASHES:
            # It is not said to have ended: should its batch come again, it stays condemned.
            return self._stage(self._condemned(table))
        result = self._stage(table)
        if ids:
            self._crash_tracker.end(self._name, ids)
        return result

    def _condemned(self, table: pa.Table) -> pa.Table:
        rows = to_rows(table)
        for row in filter(is_active, rows):
            detail = f"begun alone {MAX_CRASHES} times, and its process died each time"
            fail(row, self._name, "row_kills_process", detail)
        return to_table(rows, table.schema)


def _active_ids(table: pa.Table) -> list[str]:
    return [row["image_id"] for row in table.select(_NEEDED).to_pylist() if is_active(row)]
