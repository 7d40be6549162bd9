"""Small parts merged into larger ones, so that a reader opens dozens of files and not thousands.

Parts that are closed by time are small where rows come slowly. `pipeline.parts.merge_journal` says
in which order files change, and what that means to whoever reads meanwhile. Here the ledger goes
along: whatever moment a merging is killed at, the next run, or `hired verify`, finds in the journal
which parts are there, lets the records name them, and deletes what they replace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import reduce
from itertools import groupby
from operator import add
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger.ledger import Ledger
from pipeline.ledger.records import ShardRecord
from pipeline.ledger.snapshots import LedgerLog
from pipeline.parts.entries import SHARES_KEY, PartEntry, Share, merged_entries
from pipeline.parts.merge_journal import Merge, load_journal
from pipeline.parts.sink import ROW_KINDS, Sink
from pipeline.rows.errors import StorageError
from pipeline.rows.idsum import IdSum

__all__ = ["ENOUGH", "Compacted", "adopt_merges", "compact", "end_merging"]

ENOUGH: Final = 8
"""Small parts of one kind that a run merges when it ends; fewer are left for later."""

_AT_ONCE: Final = 16
"""Merged parts that are written before the parts that they replace are deleted."""

_THREADS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """How many parts with rows were merged, and into how many."""

    before: int = 0
    after: int = 0


def compact(sink: Sink, log: LedgerLog, *, rows_per_part: int, at_least: int = ENOUGH) -> Compacted:
    """Merge parts with fewer than half of `rows_per_part` rows, of equal columns, up to that size.

    The run that `log` is of holds the output, and its id is among the ledger's `open_runs`. Parts
    with rows that are to be taken out, or that the ledger does not know in full, stay as they are.

    Args:
        at_least: with fewer small parts of a kind, that kind is left alone.

    Raises:
        StorageError: if the storage fails, or another run has taken over; nothing is lost.
    """
    merges: list[Merge] = []
    for kind in ROW_KINDS:
        small = _small_parts(sink, log.ledger, kind, rows_per_part // 2)
        if len(small) >= max(2, at_least):
            merges += _planned(sink, log, small, rows_per_part)
    for start in range(0, len(merges), _AT_ONCE):
        _merge(sink, log, merges[start : start + _AT_ONCE])
    told = [m for m in merges if m.into.startswith(tuple(f"{kind}/" for kind in ROW_KINDS))]
    return Compacted(before=sum(len(m.replaced) for m in told), after=len(told))


def adopt_merges(sink: Sink, ledger: Ledger, put: Callable[[ShardRecord], None]) -> bool:
    """Let records name the merged parts that are there, each handed to `put`.

    Returns whether there is a merging to end: by `end_merging`, once the ledger is stored.
    """
    journal = load_journal(sink)
    if not journal.merges:
        return False
    for merge in journal.done({p for kind in ROW_KINDS for p in sink.part_files(kind)}):
        for record in _renamed(ledger, merge, _entries(sink, merge.into)):
            put(record)
    return True


def end_merging(sink: Sink) -> None:
    """Delete the parts that merged ones stand for, and open the folders again."""
    journal = load_journal(sink)
    folders = {merge.into.partition("/")[0] for merge in journal.merges}
    for merge in journal.done({path for kind in folders for path in sink.part_files(kind)}):
        for path in merge.replaced:
            sink.remove(path)
    if journal.merges:
        journal.unmark(sink)
        journal.following().save(sink)


def _small_parts(sink: Sink, ledger: Ledger, kind: str, limit: int) -> dict[str, int]:
    """Rows of the parts of `kind` with fewer than `limit`, by path, as the ledger has them."""
    shares = pc.list_flatten(ledger.to_table()["shares"]).combine_chunks()
    table = pa.table({name: pc.struct_field(shares, name) for name in ("path", "rows")})
    sums = table.group_by("path").aggregate([("rows", "sum")])
    mine = pc.and_(pc.starts_with(sums["path"], f"{kind}/"), pc.less(sums["rows_sum"], limit))
    rows = sums.filter(mine).to_pydict()
    void = {path for record in ledger.select("withdrawn") for path in record.withdrawn}
    found = dict(zip(rows["path"], rows["rows_sum"], strict=True))
    there = set(sink.parts(kind))
    return {path: found[path] for path in sorted(found.keys() & there - void)}


def _planned(sink: Sink, log: LedgerLog, small: dict[str, int], rows_per_part: int) -> list[Merge]:
    with ThreadPoolExecutor(_THREADS) as pool:
        looks = pool.map(lambda path: _look(sink, log.ledger, path), small)
        columns = {path: look for path, look in zip(small, looks, strict=True) if look is not None}
    merges: list[Merge] = []
    for _, same in groupby(sorted(columns, key=lambda path: (columns[path], path)), columns.get):
        for paths in _filled(list(same), small, rows_per_part):
            merges.append(_merge_of(paths, log.run_id))
            merges += _statistics(sink, paths)
    return merges


def _look(sink: Sink, ledger: Ledger, path: str) -> bytes | None:
    """What tells columns apart; None for a part that is not just as the ledger has it."""
    for entry in _entries(sink, path):
        record = ledger.get(entry.ledger_id)
        known = () if record is None else (s.ids for s in record.shares if s.path == path)
        if list(known) != [entry.share.ids]:
            return None
    return bytes(sink.schema(path).serialize())


def _filled(paths: list[str], rows: dict[str, int], most: int) -> Iterator[list[str]]:
    """Neighbours that have at most `most` rows together; never one alone."""
    group: list[str] = []
    for path in paths:
        if group and sum(rows[p] for p in group) + rows[path] > most:
            yield from [group] if len(group) > 1 else []
            group = []
        group.append(path)
    yield from [group] if len(group) > 1 else []


def _merge_of(paths: Sequence[str], run_id: str) -> Merge:
    """Named after what it replaces: of the same parts it is the same."""
    kind = paths[0].partition("/")[0]
    digest = hashlib.sha256("\n".join(_base(path) for path in paths).encode()).hexdigest()
    return Merge(into=f"{kind}/part-{run_id}-{digest[:16]}.parquet", replaced=tuple(paths))


def _statistics(sink: Sink, paths: Sequence[str]) -> list[Merge]:
    """Those of captions, if one run made them all: what a run took is told by its parts' names."""
    runs = {_base(path).rpartition("-")[0].removeprefix("part-") for path in paths}
    if not paths[0].startswith("captions/") or len(runs) != 1:
        return []
    run_id = runs.pop()
    there = set(sink.parts("stats", run_id))
    found = [path for base in map(_base, paths) if (path := f"stats/{base}") in there]
    schemas = {sink.schema(path) for path in found}
    if len(found) < 2 or len(schemas) != 1:
        return []
    named = _merge_of([f"stats/{_base(path)}" for path in paths], run_id)
    return [replace(named, replaced=tuple(found))]


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _merge(sink: Sink, log: LedgerLog, merges: list[Merge]) -> None:
    """In the order of `pipeline.parts.merge_journal`."""
    journal = load_journal(sink).following(merges)
    log.may_write()
    journal.save(sink)
    journal.mark(sink)
    with ThreadPoolExecutor(_THREADS) as pool:
        each = pool.map(lambda merge: _write(sink, log.may_write, log.run_id, merge), merges)
        entries = dict(zip(merges, each, strict=True))
    for merge, held in entries.items():
        for record in _renamed(log.ledger, merge, held):
            log.put(record)
    log.flush()
    log.may_write()
    end_merging(sink)


def _write(sink: Sink, may_write: Callable[[], None], run_id: str, merge: Merge) -> list[PartEntry]:
    """Store the merged part; what it holds."""
    table = pa.concat_tables(
        [sink.read_part(path).replace_schema_metadata(None) for path in merge.replaced]
    )
    metadata = sink.metadata(merge.replaced[0])
    entries: list[PartEntry] = []
    if SHARES_KEY in metadata:
        parts = [_entries(sink, path) for path in merge.replaced]
        entries = merged_entries(merge.into, [entry for part in parts for entry in part])
        metadata |= {"run_id": run_id, SHARES_KEY: [entry.to_json() for entry in entries]}
        _check(merge, table, entries)
    may_write()
    sink.write(merge.into, table, metadata)
    # Not taken back where the output is lost by now: the run that has it may stand on this part.
    may_write()
    return entries


def _check(merge: Merge, table: pa.Table, entries: Iterable[PartEntry]) -> None:
    held = reduce(add, (entry.share.ids for entry in entries), IdSum())
    if held != IdSum.of(table["image_id"].to_pylist()):
        raise StorageError(
            f"the rows of {merge.replaced[0]} and others are not those that they name; "
            "hired verify OUTPUT --repair sets them aside"
        )


def _entries(sink: Sink, path: str) -> list[PartEntry]:
    content: list[Any] = sink.metadata(path).get(SHARES_KEY, [])
    return [PartEntry.from_json(path, each) for each in content]


def _renamed(ledger: Ledger, merge: Merge, entries: Iterable[PartEntry]) -> Iterator[ShardRecord]:
    """The records that name a replaced part, naming the merged one."""
    gone = set(merge.replaced)
    for entry in entries:
        record = ledger.get(entry.ledger_id)
        mine = [] if record is None else [s for s in record.shares if s.path in gone]
        if record is not None and mine:
            assert reduce(add, (s.ids for s in mine)) == entry.share.ids, merge.into
            kept = tuple(share for share in record.shares if share.path not in gone)
            share = Share(path=merge.into, ids=entry.share.ids, codes=entry.share.codes)
            yield replace(record, shares=(*kept, share))
