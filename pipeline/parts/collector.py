"""Answered rows become parts: a part is closed when it has its rows, or by time.

This runs in the driver. What the model stages hand on is text by now, a kilobyte a row, so that one
process holds and writes what a whole cluster answers, and is there to do so when the job is told to
end: finished rows are never further away than the driver's memory.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

_PARTS_AT_HAND: Final = 4
"""When so many parts wait to be written, the stages wait as well."""


@dataclass
class PartCollector:
    """Takes tables of answered rows; a thread of its own writes them.

    As a context manager: leaving it writes all rows that are at hand, after an error or an
    interruption too, which may then take `grace_sec`.

    Attributes:
        write: stores rows as one part and returns its summary.
        store: enters a summary in the ledger; called by the writing thread alone.
        part_sec: a row waits no longer than this for its part to fill.
    """

    write: Callable[[pa.Table], pa.Table]
    store: Callable[[pa.Table], None]
    rows_per_part: int
    part_sec: float
    grace_sec: float
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waiting: deque[tuple[float, pa.Table]] = field(default_factory=deque)
    _rows_stored: int = 0
    _first_at: float | None = None
    _is_closing: bool = False
    _error: BaseException | None = None

    def __enter__(self) -> PartCollector:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Raises what writing raised, unless something else ends the job already."""
        self.close()
        self._thread.join(None if kind is None else self.grace_sec)
        if kind is None and self._error is not None:
            raise self._error

    def close(self) -> None:
        """No more rows will come: what is at hand is written now. May be called by a signal."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()

    @property
    def rows_stored(self) -> int:
        """Captions and quarantined rows that are in parts, by now."""
        return self._rows_stored

    @property
    def first_at(self) -> float | None:
        """`time.monotonic()` when the first text came; None without any."""
        return self._first_at

    def add(self, table: pa.Table) -> None:
        """Take rows of `ANSWERED_SCHEMA`; waits while too many are at hand.

        Raises:
            BaseException: what writing raised.
        """
        if not table.num_rows:
            return
        with self._changed:
            self._changed.wait_for(self._has_room)
            if self._error is not None:
                raise self._error
            now = time.monotonic()
            if self._first_at is None and table["text"].null_count < table.num_rows:
                self._first_at = now
            self._waiting.append((now, table))
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return self._error is not None or self._num_waiting() < _PARTS_AT_HAND * self.rows_per_part

    def _num_waiting(self) -> int:
        return sum(table.num_rows for _, table in self._waiting)

    def _run(self) -> None:
        try:
            while (table := self._next_part()) is not None:
                self.store(self.write(table))
                self._rows_stored += _num_results(table)
        except BaseException as exc:
            with self._changed:
                self._error = exc
                self._changed.notify_all()

    def _next_part(self) -> pa.Table | None:
        """The rows of the next part, when it is due; None when there is no more to come."""
        with self._changed:
            while not self._is_due():
                self._changed.wait(self._seconds_left() if self._waiting else None)
            rows = self._take()
            self._changed.notify_all()
        return rows

    def _is_due(self) -> bool:
        full = self._num_waiting() >= self.rows_per_part
        return self._is_closing or full or (bool(self._waiting) and self._seconds_left() <= 0)

    def _seconds_left(self) -> float:
        """Until the row that has waited longest has waited long enough."""
        return self._waiting[0][0] + self.part_sec - time.monotonic()

    def _take(self) -> pa.Table | None:
        """The oldest rows, as many as a part holds; a table that is cut keeps its time."""
        taken: list[pa.Table] = []
        room = self.rows_per_part
        while self._waiting and room:
            arrived, table = self._waiting.popleft()
            taken.append(table.slice(0, room))
            if table.num_rows > room:
                self._waiting.appendleft((arrived, table.slice(room)))
            room -= taken[-1].num_rows
        return pa.concat_tables(taken) if taken else None


def _num_results(table: pa.Table) -> int:
    """Rows that are no marker of a shard's end."""
    return int(table["shard_rows"].null_count)
