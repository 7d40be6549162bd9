"""What a kill of the driver costs: rows that were answered and have to be answered again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.stand_in import Answered
from tests.chaos.storage import Folder

__all__ = ["LostWork", "lost_work", "stored_rows"]


@dataclass(frozen=True, kw_only=True)
class LostWork:
    """Of one run.

    Attributes:
        rows: answered before the kill, and not stored.
        seconds: from the first of them to the kill; 0 without any.
    """

    run_id: str
    rows: int
    seconds: float


def lost_work(batches: Sequence[Answered], stored: int, killed_at: float) -> LostWork:
    """What of one run was answered last is what is not stored: parts are stored in order.

    Args:
        batches: of the run, in any order.
        stored: rows of it in the output.
        killed_at: Unix time; what model actors answer later was never with the driver.
    """
    before = sorted((b for b in batches if b.unix_sec <= killed_at), key=lambda b: b.unix_sec)
    lost = max(0, sum(batch.rows for batch in before) - stored)
    first, left = killed_at, lost
    for batch in reversed(before):
        if left <= 0:
            break
        first, left = batch.unix_sec, left - batch.rows
    run_id = batches[0].run_id if batches else ""
    return LostWork(run_id=run_id, rows=lost, seconds=round(killed_at - first, 2))


def stored_rows(output: Folder, run_id: str) -> int:
    """Captions that this run answered itself."""
    return sum(_of_run(table.to_pylist(), run_id) for table in output.tables("captions", _COLUMNS))


_COLUMNS = ["run_id", "duplicate_of"]


def _of_run(rows: Iterable[dict[str, str | None]], run_id: str) -> int:
    return sum(row["run_id"] == run_id and row["duplicate_of"] is None for row in rows)
