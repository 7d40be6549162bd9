"""All shard records of an output, in memory."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger.records import RECORD_SCHEMA, ShardRecord, to_table

_BATCH: Final = 1024
_BUCKET: Final = re.compile(r"\[\d+/(\d+)\]$")


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Rows stored in an output."""

    captions: int
    quarantined: int
    codes: dict[str, int]

    @property
    def rows(self) -> int:
        return self.captions + self.quarantined


@dataclass
class Ledger:
    """Finished shards stay an Arrow table; Python objects are made of the few that change.

    Attributes:
        base: `RECORD_SCHEMA`, one row per shard.
        changed: records that replace those of `base`.
        open_runs: runs that did not end well: there may be parts of theirs that no record names.
    """

    base: pa.Table = field(default_factory=RECORD_SCHEMA.empty_table)
    changed: dict[str, ShardRecord] = field(default_factory=dict)
    open_runs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._index()

    def _index(self) -> None:
        columns = ("ledger_id", "complete", "signature", "max_rows")
        ids, *facts = (self.base[name].to_pylist() for name in columns)
        self._rows = {ledger_id: row for row, ledger_id in enumerate(ids)}
        self._facts: list[tuple[bool, str, int | None]] = list(zip(*facts, strict=True))

    def __contains__(self, ledger_id: str) -> bool:
        return ledger_id in self.changed or ledger_id in self._rows

    def get(self, ledger_id: str) -> ShardRecord | None:
        if (record := self.changed.get(ledger_id)) is not None:
            return record
        if (row := self._rows.get(ledger_id)) is None:
            return None
        return ShardRecord.from_row(self.base.slice(row, 1).to_pylist()[0])

    def put(self, record: ShardRecord) -> None:
        self.changed[record.ledger_id] = record

    def facts(self, ledger_id: str) -> tuple[bool, str, int | None] | None:
        """(complete, signature, max_rows) without building the record; None if unknown."""
        if (record := self.changed.get(ledger_id)) is not None:
            return record.complete, record.signature, record.max_rows
        row = self._rows.get(ledger_id)
        return None if row is None else self._facts[row]

    def fold(self) -> None:
        """Move the changed records into `base`, where they take least memory."""
        if self.changed:
            self.base = self.to_table()
            self.changed.clear()
            self._index()

    def to_table(self) -> pa.Table:
        """One record per shard."""
        kept = self._unchanged()
        return pa.concat_tables([kept, to_table(self.changed.values())]).combine_chunks()

    def totals(self) -> Totals:
        base, changed = self._unchanged(), self.changed.values()
        codes: Counter[str] = Counter()
        for text in base["codes"].drop_null().to_pylist():
            codes.update(json.loads(text))
        for record in changed:
            codes.update(record.codes)
        captions, quarantined = (
            pc.sum(base[name]).as_py() or 0 for name in ("captions", "quarantined")
        )
        return Totals(
            captions=captions + sum(record.captions for record in changed),
            quarantined=quarantined + sum(record.quarantined for record in changed),
            codes=dict(sorted(codes.items())),
        )

    def records(self) -> Iterator[ShardRecord]:
        """All of them, built one after the other."""
        for batch in self._unchanged().to_batches(max_chunksize=_BATCH):
            yield from map(ShardRecord.from_row, batch.to_pylist())
        yield from list(self.changed.values())

    def select(self, column: str) -> Iterator[ShardRecord]:
        """Records where `column` is neither null, nor false, 0 or empty."""
        values = self._unchanged()
        marks = values[column]
        if pa.types.is_list(marks.type):
            marks = pc.list_value_length(marks)
        for row in values.filter(pc.fill_null(pc.cast(marks, pa.bool_()), False)).to_pylist():
            yield ShardRecord.from_row(row)
        yield from (r for r in self.changed.values() if r.to_row()[column])

    def paths_of_runs(self, run_ids: Iterable[str]) -> set[str]:
        """Parts of these runs that records name."""
        shares = pc.list_flatten(self._unchanged()["shares"])
        paths = pc.unique(pc.struct_field(shares, "path"))
        marks = [f"/part-{run_id}-" for run_id in run_ids]
        known = {s.path for record in self.changed.values() for s in record.shares}
        for mark in marks:
            known.update(paths.filter(pc.match_substring(paths, mark)).to_pylist())
        return {path for path in known if any(mark in path for mark in marks)}

    def buckets(self) -> dict[str, int]:
        """Into how many buckets each folder of loose images was divided when it was first seen."""
        every: Iterable[Any] = [*self._rows, *self.changed]
        found = ((i, _BUCKET.search(i)) for i in every if i.endswith("]"))
        return {i[: match.start()]: int(match[1]) for i, match in found if match}

    def _unchanged(self) -> pa.Table:
        if not self.changed:
            return self.base
        gone = pa.array(list(self.changed), type=pa.string())
        return self.base.filter(pc.invert(pc.is_in(self.base["ledger_id"], value_set=gone)))
