"""Part files that are there whole or not at all, and say what is in them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.parts.merge_journal import LEDGER_FOLDER as LEDGER_FOLDER
from pipeline.parts.merge_journal import MergeJournal, steady
from pipeline.rows.errors import StorageError
from pipeline.storage.store import Store

ROW_KINDS: Final = ("captions", "quarantine")
WAITING: Final = "waiting"
"""Parts with rows of the run that is under way, until there is a caption to copy to them."""
KINDS: Final = (*ROW_KINDS, WAITING, "stats")
REPORT: Final = "report.json"
REPORTS: Final = "reports"
"""Folder of what each run said at its end; `REPORT` is that of the last one."""
_RUN_REPORT: Final = re.compile(rf"{REPORTS}/\d{{8}}T\d{{6}}-[0-9a-f]+\.json")
LOCK: Final = f"{LEDGER_FOLDER}/lock.json"
METADATA_KEY: Final = b"hired"
_CHECK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Sink(Store):
    """The output: `<kind>/part-<run>-<digest>.parquet`, `report.json` and `reports/<run>.json`.

    Parts are named by their path below the output. Every part carries, as Parquet metadata, what
    made it and which rows of which shards it holds: it is its own commit record.
    """

    def write(self, path: str, table: pa.Table, metadata: Mapping[str, Any]) -> None:
        """Store `table` as the part at `path`, replacing one of that name.

        Raises:
            StorageError: if it cannot be stored.
        """
        extended = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(dict(metadata))}
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(extended), buffer, compression="zstd")
        self.put(path, buffer.getvalue())

    def parts(self, kind: str, run_id: str | None = None) -> list[str]:
        """Paths of the parts of `kind`, of one run or of all, sorted; together they hold every row
        once, also while parts are being merged."""

        def look(journal: MergeJournal) -> list[str]:
            # A merged part of one run may stand for parts of another.
            found = self.part_files(kind, None if journal.merges else run_id)
            return [p for p in journal.seen(found) if run_id is None or f"/part-{run_id}-" in p]

        return steady(self, look)

    def part_files(self, kind: str, run_id: str | None = None) -> list[str]:
        """As `parts`; with those that a merged part already stands for."""
        found = self.names(kind, prefix=f"part-{run_id}-" if run_id else "part-")
        return [path for path in found if path.endswith(".parquet")]

    def reports(self) -> list[str]:
        """Names of what single runs said at their end, by time."""
        return [name for name in self.names(REPORTS) if _RUN_REPORT.fullmatch(name)]

    def temporaries(self) -> list[str]:
        """What writers that were killed left behind.

        Not that of the lock, which a thread of the run that holds it may be writing just now.
        """
        found = [
            path
            for folder in ("", *KINDS, REPORTS, LEDGER_FOLDER)
            for path in self.half_written(folder)
        ]
        lock = LOCK.rpartition("/")[2]
        return [path for path in found if not path.startswith(f"{LEDGER_FOLDER}/.{lock}.")]

    def read(
        self, kind: str, columns: list[str] | None = None, run_id: str | None = None
    ) -> Iterator[pa.Table]:
        """Tables of the parts of `kind`, one at a time."""
        for path in self.parts(kind, run_id):
            yield self.read_part(path, columns)

    def read_part(self, path: str, columns: list[str] | None = None) -> pa.Table:
        with self.open(path) as file:
            return pq.read_table(file, columns=columns)

    def schema(self, path: str) -> pa.Schema:
        """Columns of the part at `path`; only its end is read."""
        with self.open(path) as file:
            return pq.read_schema(file).remove_metadata()

    def metadata(self, path: str) -> dict[str, Any]:
        """What the part says of itself; only its end is read.

        Raises:
            StorageError: if it cannot be read or is no part of ours.
        """
        with self.open(path) as file:
            found = pq.read_metadata(file).metadata or {}
        if METADATA_KEY not in found:
            raise StorageError(f"{path} of the output was not written by this job")
        return dict(json.loads(found[METADATA_KEY]))
