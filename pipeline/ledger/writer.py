"""The ledger of a run: put in order at the start, added to part by part, proven at the end.

A run may find results in the output: `ResumeOptions` say what becomes of them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import pyarrow as pa

from pipeline.ledger.clear import clear, finish_clearing
from pipeline.ledger.compaction import Compacted, adopt_merges, compact, end_merging
from pipeline.ledger.duplicates import remove_duplicates
from pipeline.ledger.identity import Identity, check_same, load_identity
from pipeline.ledger.lease import Fence
from pipeline.ledger.ledger import Ledger, Totals
from pipeline.ledger.leftovers import unknown_parts, withdraw_void
from pipeline.ledger.reconcile import ReportedRows, reconcile
from pipeline.ledger.records import ShardRecord
from pipeline.ledger.snapshots import LedgerLog, load_ledger
from pipeline.ledger.work import Assignment, assign, find_work, opened, refuse_changed
from pipeline.parts.entries import PartEntry, Share, read_entries
from pipeline.parts.remove_rows import remove_shards
from pipeline.parts.sink import WAITING, Sink
from pipeline.rows.errors import BusyError, ReconcileError
from pipeline.rows.idsum import IdSum
from pipeline.rows.schemas import ShardEnd
from pipeline.settings.config import OnChanged, OutputConfig
from pipeline.sources import Shard


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """What a run is to do with results that are there."""

    overwrite: bool = OutputConfig.overwrite
    retry_quarantined: bool = OutputConfig.retry_quarantined
    on_changed: OnChanged = OutputConfig.on_changed


class LedgerWriter:
    """Keeps parts and ledger of an output in step with each other.

    Whatever moment it is killed at, the next one finds in the parts what the ledger lacks, and in
    the ledger what was to be taken out of the parts.

    Args:
        fence: of the lease that is held.
    """

    def __init__(self, sink: Sink, fence: Fence, identity: Identity) -> None:
        self._sink = sink
        self._reported = ReportedRows()
        self._opened: dict[str, Shard] = {}
        self._before: dict[str, IdSum] = {}
        self._identity = identity
        self.fence = fence

    @property
    def run_id(self) -> str:
        return self.fence.run_id

    @property
    def num_opened(self) -> int:
        """Shards: all buckets of a folder are one."""
        return len({shard.name for shard in self._opened.values()})

    @property
    def ledger(self) -> Ledger:
        return self._log.ledger

    def begin(self, shards: Iterable[Shard], resume: ResumeOptions) -> list[Assignment]:
        """Put the output in order and return what is to be read of `shards`.

        Raises:
            ConfigError: if the output is of another configuration.
            InputError: if a shard has changed and `resume` does not say what then.
        """
        former = finish_clearing(self._sink)
        if resume.overwrite:
            former += clear(self._sink)
        there = load_identity(self._sink)
        if there is not None:
            check_same(there, self._identity)
        if there is None or there.input_root is None:
            self._identity.save(self._sink)
        self._open_ledger(former)
        self._adopt_unknown()
        planned = tuple(shards)
        self._check_buckets(planned)
        self._note_void(planned, resume)
        self._log.snapshot()
        end_merging(self._sink)
        for record in withdraw_void(self._sink, self.ledger):
            self._log.put(record)
        work = find_work(planned, self.ledger)
        if resume.on_changed == "skip":
            work = work.without_changed()
        self._reread(work.to_open)
        assignments = [self._assign(shard) for shard in work.to_open]
        self._log.flush()
        return assignments

    def add(self, summary: pa.Table) -> None:
        """Enter what the write stage reports (`SUMMARY_SCHEMA`)."""
        for row in summary.to_pylist():
            ledger_id = row["ledger_id"]
            if row["path"] is None:
                end = ShardEnd(**{field.name: row[field.name] for field in fields(ShardEnd)})
                self._reported.ends[ledger_id].append(end)
            else:
                self._add_share(ledger_id, _share(row))
            self._settle(ledger_id)
        self._log.tick()

    def flush(self) -> None:
        """Store what the ledger knows; when a run fails, the next has less to look for."""
        self._log.flush()

    def finish(self) -> None:
        """Prove that all is there once, and close the run's account.

        Raises:
            ReconcileError: naming shards that do not add up; the next run mends them.
        """
        reconcile(self._reported, self._opened)
        self._check_nothing_foreign()
        for ledger_id, (end, *_) in self._reported.ends.items():
            if end.doubled_rows:
                self._log.put(remove_duplicates(self._sink, self._record(ledger_id)))
        for ledger_id in self._opened:
            self._log.put(replace(self._record(ledger_id), complete=True))
        self._adopt_unknown()
        self._sweep()

    def compact(self, rows_per_part: int) -> Compacted:
        """Merge small parts, where there are enough of them; see `pipeline.ledger.compaction`."""
        return compact(self._sink, self._log, rows_per_part=rows_per_part)

    def opened(self) -> Totals:
        """Rows stored, by this run or before, of the shards that this run opened."""
        records = [self._record(ledger_id) for ledger_id in self._opened]
        codes: Counter[str] = Counter()
        for record in records:
            codes.update(record.codes)
        return Totals(
            captions=sum(record.captions for record in records),
            quarantined=sum(record.quarantined for record in records),
            codes=dict(sorted(codes.items())),
        )

    def close(self) -> None:
        """The last thing a run does: nothing of it is left to look for."""
        self.ledger.open_runs = ()
        self._log.snapshot()

    def _open_ledger(self, former: tuple[str, ...]) -> None:
        ledger = load_ledger(self._sink) or Ledger()
        self._sweep()
        run_id = self.fence.run_id
        self._log = LedgerLog(
            store=self._sink, ledger=ledger, run_id=run_id, may_write=self.fence.check
        )
        ledger.open_runs = tuple(dict.fromkeys((*former, *ledger.open_runs, run_id)))
        adopt_merges(self._sink, ledger, self._log.put)

    def _sweep(self) -> None:
        """Take away what writers that were killed left half-written, and rows that waited."""
        for path in (*self._sink.temporaries(), *self._sink.parts(WAITING)):
            self._sink.remove(path)

    def _adopt_unknown(self) -> None:
        """Enter rows of parts that no record names; those of finished shards are there twice.

        Parts of another configuration are those that a killed run stored after its output was
        overwritten.
        """
        paths = unknown_parts(self._sink, self.ledger, self.ledger.open_runs)
        for entry in read_entries(self._sink, paths):
            if entry.fingerprint != self._identity.fingerprint:
                self._sink.remove(entry.share.path)
                continue
            record = self.ledger.get(entry.ledger_id) or _unopened(entry)
            path = entry.share.path
            if record.complete:
                remove_shards(self._sink, path, [entry])
            elif path not in record.withdrawn:
                self._log.put(record.with_shares([entry.share]))

    def _note_void(self, shards: tuple[Shard, ...], resume: ResumeOptions) -> None:
        """Enter which rows are to be taken out; doing so comes when that is stored."""
        work = find_work(shards, self.ledger)
        if resume.on_changed == "fail":
            refuse_changed(work)
        if resume.on_changed == "redo":
            for shard in work.changed:
                record = self._record(shard.ledger_id)
                self._log.put(record.without(share.path for share in record.shares))
        if resume.retry_quarantined:
            planned = {shard.ledger_id for shard in shards}
            for record in list(self.ledger.select("quarantined")):
                if record.ledger_id in planned:
                    bad = [share.path for share in record.shares if share.in_quarantine]
                    self._log.put(record.without(bad))

    def _check_buckets(self, shards: Iterable[Shard]) -> None:
        """A folder of images is divided once; another run may have begun since this one planned."""
        known = self.ledger.buckets()
        for shard in shards:
            count = int(shard.bucket.rpartition("/")[2] or 0)
            if count and known.get(shard.name, count) != count:
                raise BusyError(f"output: another run has begun with {shard.name}; try again")

    def _reread(self, shards: Iterable[Shard]) -> None:
        """Correct records of unfinished shards by what the parts themselves say.

        A run that was killed may have taken doubled rows out of parts and not told the ledger.
        """
        if self.ledger.open_runs == (self.run_id,):
            return
        known = [record for shard in shards if (record := self.ledger.get(shard.ledger_id))]
        paths = {share.path for record in known for share in record.shares}
        stored: dict[str, list[Share]] = defaultdict(list)
        for each in read_entries(self._sink, sorted(paths)):
            stored[each.ledger_id].append(each.share)
        for record in known:
            empty = replace(record, shares=(), codes={})
            self._log.put(empty.with_shares(stored[record.ledger_id]))

    def _assign(self, shard: Shard) -> Assignment:
        record = opened(shard, self.ledger.get(shard.ledger_id))
        self._log.put(record)
        self._opened[shard.ledger_id] = shard
        self._before[shard.ledger_id] = record.ids
        return assign(shard, record)

    def _add_share(self, ledger_id: str, share: Share) -> None:
        self._reported.stored[ledger_id] += share.ids
        self._log.put(self._record(ledger_id).with_shares([share]))

    def _settle(self, ledger_id: str) -> None:
        """Mark the shard complete as soon as it is."""
        if ledger_id not in self._opened or not self._reported.is_settled(ledger_id):
            return
        doubled = self._reported.ends[ledger_id][0].doubled_rows
        if not doubled and not self._num_foreign(ledger_id):
            self._log.put(replace(self._record(ledger_id), complete=True))

    def _check_nothing_foreign(self) -> None:
        for ledger_id in self._opened:
            if extra := self._num_foreign(ledger_id):
                raise ReconcileError(
                    f"{ledger_id}: {extra} rows are stored that the shard does not hold; "
                    "jobs/verify.py --repair takes the shard out, to be read again"
                )

    def _num_foreign(self, ledger_id: str) -> int:
        """Rows stored before this run that are not among those its reader met and left out."""
        shard, end = self._opened[ledger_id], self._reported.ends[ledger_id][0]
        if shard.max_rows is not None or shard.format == "images":
            return 0
        return self._before[ledger_id].rows - end.skipped_rows - end.doubled_rows

    def _record(self, ledger_id: str) -> ShardRecord:
        record = self.ledger.get(ledger_id)
        assert record is not None, f"{ledger_id} was never opened"
        return record


def _share(row: dict[str, Any]) -> Share:
    ids = IdSum(row["rows"], row["digest"])
    return Share(path=row["path"], ids=ids, codes=json.loads(row["codes"]))


def _unopened(entry: PartEntry) -> ShardRecord:
    """For a part whose shard the ledger has lost: an empty signature makes it be read again."""
    return ShardRecord(ledger_id=entry.ledger_id, name=entry.name, signature="")
