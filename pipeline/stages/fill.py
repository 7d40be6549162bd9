"""Rows that wait for the caption of another -> part files with it.

Rows in `waiting/` are not yet stored: they count when they are in captions/ or quarantine/. So a
run that is killed anywhere here has lost nothing: the next one throws away what waits, finds the
rows missing, and reads them again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.copies.claims import Finder, First
from pipeline.parts.sink import WAITING, Sink
from pipeline.rows.errors import ReconcileError
from pipeline.rows.extras import ExtraColumns, parsed_rows
from pipeline.rows.row import CARRIED, PARSED, Row, fail, to_rows, to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA, CAPTIONS_SCHEMA
from pipeline.stages.write import WriteStage

__all__ = ["ROWS_AT_ONCE", "FillStage"]

ROWS_AT_ONCE: Final = 10_000
"""In memory, each with the caption that it gets; so many wait before any is given its own."""

_THREADS: Final = 16
_STAGE: Final = "copy"


@dataclass(kw_only=True)
class FillStage:
    """Collects the parts that wait and fills them, some at a time; gives `SUMMARY_SCHEMA`.

    Attributes:
        write: stores the rows, as it does those that were answered.
        rejected: flags with which no caption is to pass, as it may have when it was made.
        counts: rows filled so far: "copied", and of these "near"; "quarantined".
    """

    sink: Sink
    registry: Finder
    extras: ExtraColumns = field(default_factory=ExtraColumns)
    write: WriteStage
    rejected: frozenset[str]
    rows_per_part: int
    counts: Counter[str] = field(default_factory=Counter)
    _waiting: dict[str, int] = field(default_factory=dict)
    _num_new: int = 0

    def after(self, summary: pa.Table) -> Iterator[pa.Table]:
        """What of it is stored, and what was filled since enough is waiting.

        A run that is killed then has not all of it to read again.
        """
        yield self._take(summary)
        if self._num_new >= ROWS_AT_ONCE:
            self._num_new = 0
            yield from self._fill(is_last=False)

    def _take(self, summary: pa.Table) -> pa.Table:
        """Remembers what waits."""
        waits = pc.fill_null(pc.starts_with(summary["path"], f"{WAITING}/"), False)
        for row in summary.filter(waits).to_pylist():
            self._waiting[row["path"]] = self._waiting.get(row["path"], 0) + row["rows"]
            self._num_new += row["rows"]
        return summary.filter(pc.invert(waits))

    def rest(self) -> Iterator[pa.Table]:
        """Fill all there is, every caption being stored by now.

        Raises:
            ReconcileError: if one is not.
        """
        yield from self._fill(is_last=True)

    def _fill(self, *, is_last: bool) -> Iterator[pa.Table]:
        for paths in self._groups():
            rows = {path: to_rows(self.sink.read_part(path)) for path in paths}
            numbers = {row["first"] for mine in rows.values() for row in mine}
            firsts = self.registry.resolve(sorted(numbers))
            ready = {p: mine for p, mine in rows.items() if is_last or _are_stored(mine, firsts)}
            yield from self._store([row for mine in ready.values() for row in mine], firsts)
            for path in ready:
                self.sink.remove(path)
                del self._waiting[path]

    def _groups(self) -> list[list[str]]:
        """Paths of about `ROWS_AT_ONCE` rows."""
        groups: list[list[str]] = [[]]
        size = 0
        for path, rows in self._waiting.items():
            if size and size + rows > ROWS_AT_ONCE:
                groups.append([])
                size = 0
            groups[-1].append(path)
            size += rows
        return [group for group in groups if group]

    def _store(self, rows: list[Row], firsts: dict[int, First]) -> Iterator[pa.Table]:
        captions = self._captions({first for row in rows if (first := firsts[row["first"]])})
        filled = [self._filled(row, firsts[row["first"]], captions) for row in rows]
        schema = self.extras.on_the_way(ANSWERED_SCHEMA, CARRIED, PARSED)
        for start in range(0, len(filled), self.rows_per_part):
            part = to_table(filled[start : start + self.rows_per_part], schema)
            yield self.write(part)

    def _captions(self, firsts: set[First]) -> dict[str, Row]:
        """Captions and quarantined rows of these, by id; each part is read once."""
        ids: dict[str, list[str]] = defaultdict(list)
        for first in firsts:
            if first.path is not None:
                ids[first.path].append(first.image_id)
        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lambda path: self._rows(path, ids[path]), ids)
            return {row["image_id"]: row for rows in found for row in rows}

    def _rows(self, path: str, ids: Sequence[str]) -> list[Row]:
        table = self.sink.read_part(path)
        mine = pc.is_in(table["image_id"], value_set=pa.array(ids, pa.string()))
        return parsed_rows(table.filter(mine), self.extras)

    def _filled(self, row: Row, first: First, captions: dict[str, Row]) -> Row:
        there = captions.get(first.image_id)
        if there is None:
            raise ReconcileError(
                f"{row['image_id']}: {first.image_id}, whose caption it gets, is not stored; "
                "run the same command again"
            )
        filled = _copied(row, first, there)
        if there.get("error_code") is not None:
            detail = f"as {first.image_id}: {there['error_detail']}"
            fail(filled, there["error_stage"], there["error_code"], detail)
        elif bad := self.rejected.intersection(there.get("flags") or []):
            detail = f"as {first.image_id}: {', '.join(sorted(bad))}: {there['text']}"
            fail(filled, _STAGE, "caption_rejected", detail)
        self._count(filled)
        return filled

    def _count(self, row: Row) -> None:
        self.counts["quarantined" if row["error_code"] else "copied"] += 1
        if not row["error_code"] and row["duplicate_distance"] is not None:
            self.counts["near"] += 1


def _are_stored(rows: list[Row], firsts: dict[int, First]) -> bool:
    return all(firsts[row["first"]].path is not None for row in rows)


def _copied(row: Row, first: First, there: Row) -> Row:
    """The first's columns, but for those that are the row's own."""
    own = {name: value for name, value in row.items() if value is not None and name != "first"}
    looks: dict[str, Any] = {"width": first.width, "height": first.height, "phash": first.phash}
    looks["image_notes"] = []
    if first.distance is None:  # The same bytes.
        looks = {name: there.get(name) for name in looks}
    filled: dict[str, Any] = dict.fromkeys(ANSWERED_SCHEMA.names)
    filled |= {n: there[n] for n in CAPTIONS_SCHEMA.names if n in there and n in filled}
    marks: Row = {"duplicate_of": first.image_id, "duplicate_distance": first.distance}
    marks |= {"prompt_name": row["prompt_name"], PARSED: there.get(PARSED)}
    return filled | looks | own | marks
