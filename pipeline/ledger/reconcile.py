"""The proof at the end: every row that was read is stored, once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.rows.errors import ReconcileError
from pipeline.rows.idsum import IdSum
from pipeline.rows.schemas import ShardEnd

SHOWN = 5


@dataclass
class ReportedRows:
    """What the write stage reported, by ledger id.

    Attributes:
        stored: rows that this run has stored.
        ends: how the shard ended for its reader; one, when all is well.
    """

    stored: dict[str, IdSum] = field(default_factory=lambda: defaultdict(IdSum))
    ends: dict[str, list[ShardEnd]] = field(default_factory=lambda: defaultdict(list))

    def is_settled(self, ledger_id: str) -> bool:
        """Whether all rows of the shard have been read and stored."""
        return self.problem(ledger_id) is None

    def problem(self, ledger_id: str) -> str | None:
        """Why the shard does not add up; None if it does."""
        ends, stored = self.ends.get(ledger_id, []), self.stored.get(ledger_id, IdSum())
        if len(ends) != 1:
            return f"{ledger_id}: read to its end {len(ends)} times, planned once"
        read = IdSum(ends[0].shard_rows, ends[0].shard_digest)
        if stored.rows != read.rows:
            return f"{ledger_id}: {read.rows} rows in, {stored.rows} stored"
        if stored != read:
            return f"{ledger_id}: the {stored.rows} rows stored are not those read"
        return None


def reconcile(reported: ReportedRows, ledger_ids: Iterable[str]) -> None:
    """Check that every opened shard was read to its end and its rows are stored.

    Raises:
        ReconcileError: naming shards that do not add up.
    """
    expected = set(ledger_ids)
    every = sorted({*expected, *reported.stored, *reported.ends})
    problems = [problem for i in every if (problem := _problem(reported, i, i in expected))]
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ReconcileError(f"rows do not add up: {'; '.join(problems[:SHOWN])}{more}")


def _problem(reported: ReportedRows, ledger_id: str, is_expected: bool) -> str | None:
    return reported.problem(ledger_id) if is_expected else f"{ledger_id}: was not to be read"
