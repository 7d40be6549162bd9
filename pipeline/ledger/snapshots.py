"""The ledger on storage: a snapshot of all records, and segments of those changed since.

    _ledger/000003-000000-<run>.snapshot.parquet
    _ledger/000003-000001-<run>.segment.parquet

The first number counts the runs that wrote to the output, the second the files of one run. A run
begins with a snapshot, so that whatever a killed predecessor still writes counts for nothing: the
last snapshot replaces all files of other runs, and a later record an earlier one.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.ledger.ledger import Ledger
from pipeline.ledger.records import ShardRecord, to_table
from pipeline.parts.sink import LEDGER_FOLDER
from pipeline.rows.errors import StorageError
from pipeline.storage.store import Store

_SNAPSHOT, _SEGMENT = ".snapshot.parquet", ".segment.parquet"
_OPEN_RUNS: Final = b"open_runs"
SEGMENT_SEC: Final = 10.0
SEGMENTS_PER_SNAPSHOT: Final = 64
_ATTEMPTS: Final = 3


class _Gone(Exception):
    """A file was replaced between listing and reading."""


def load_ledger(store: Store) -> Ledger | None:
    """The ledger as last written; None if there is none.

    Raises:
        StorageError: if it cannot be read.
    """
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(_Gone):
            return _load(store)
    raise StorageError("the ledger changes while it is read: another run is writing to the output")


def _load(store: Store) -> Ledger | None:
    names = store.names(LEDGER_FOLDER)
    snapshots = [name for name in names if name.endswith(_SNAPSHOT)]
    if not snapshots:
        return None
    table = _read(store, snapshots[-1])
    open_runs = json.loads((table.schema.metadata or {})[_OPEN_RUNS])
    ledger = Ledger(base=table.replace_schema_metadata(None), open_runs=tuple(open_runs))
    for name in names:
        if name.endswith(_SEGMENT) and name > snapshots[-1] and _run(name) == _run(snapshots[-1]):
            for row in _read(store, name).to_pylist():
                ledger.put(ShardRecord.from_row(row))
    return ledger


def _run(name: str) -> tuple[str, str]:
    """Which run wrote the file: its number and its id."""
    number, _, run_id = name.rpartition("/")[2].partition(".")[0].split("-", 2)
    return number, run_id


def remove_ledger(store: Store) -> None:
    """Delete all ledger files; the lock and the marks of what is under way stay."""
    for name in store.names(LEDGER_FOLDER):
        if name.endswith((_SNAPSHOT, _SEGMENT)):
            store.remove(name)


def _read(store: Store, name: str) -> pa.Table:
    data = store.get(name)
    if data is None:
        raise _Gone(name)
    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as exc:
        raise StorageError(
            f"{name} of the output does not read ({exc}); jobs/verify.py --repair makes the ledger "
            "anew from the parts"
        ) from exc


@dataclass
class LedgerLog:
    """Stores one run's changes to `ledger`, a little behind.

    Attributes:
        may_write: called before each write; raises when the run has lost its lock.
    """

    store: Store
    ledger: Ledger
    run_id: str
    may_write: Callable[[], None]
    clock: Callable[[], float] = time.monotonic
    _dirty: set[str] = field(default_factory=set)
    _epoch: int = 0
    _number: int = -1
    _since_snapshot: int = 0
    _written_at: float = 0.0

    def __post_init__(self) -> None:
        epochs = [int(name.split("/")[1][:6]) for name in self._files()]
        self._epoch = max(epochs, default=0) + 1

    def put(self, record: ShardRecord) -> None:
        self.ledger.put(record)
        self._dirty.add(record.ledger_id)

    def tick(self) -> None:
        """Append what changed, if the last time is `SEGMENT_SEC` ago."""
        if self._dirty and self.clock() - self._written_at >= SEGMENT_SEC:
            self.flush()

    def flush(self) -> None:
        """Append what changed."""
        if self._since_snapshot >= SEGMENTS_PER_SNAPSHOT:
            self.snapshot()
        elif self._dirty:
            changed = to_table(self.ledger.changed[i] for i in sorted(self._dirty))
            self._put(_SEGMENT, changed)

    def snapshot(self) -> None:
        """Store all records as one file and delete what it replaces."""
        replaced = self._files()
        self.ledger.fold()
        metadata: dict[Any, Any] = {_OPEN_RUNS: json.dumps(self.ledger.open_runs)}
        name = self._put(_SNAPSHOT, self.ledger.base.replace_schema_metadata(metadata))
        for old in replaced:
            if old < name:
                self.store.remove(old)
        self._since_snapshot = 0

    def _put(self, ending: str, table: pa.Table) -> str:
        self.may_write()
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self._number += 1
        name = f"{LEDGER_FOLDER}/{self._epoch:06}-{self._number:06}-{self.run_id}{ending}"
        self.store.put(name, buffer.getvalue())
        self._dirty.clear()
        self._since_snapshot += 1
        self._written_at = self.clock()
        return name

    def _files(self) -> list[str]:
        found = self.store.names(LEDGER_FOLDER)
        return [name for name in found if name.endswith((_SNAPSHOT, _SEGMENT))]
