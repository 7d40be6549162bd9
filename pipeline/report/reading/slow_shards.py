"""Which shards took longest for a row.

Statistics are of batches, and batches know no shard. But the records of a batch are stored beside
its rows, under one file name, and the ledger knows how many rows of which shard lie there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.ledger.records import ShardRecord

__all__ = ["ShardTime", "slowest"]


@dataclass(frozen=True, kw_only=True)
class ShardTime:
    """Busy seconds of all stages that went into the rows of a shard.

    Attributes:
        shared: whether parts of it hold rows of other shards too, so that seconds were shared out.
    """

    name: str
    rows: int
    busy_sec: float
    shared: bool

    @property
    def sec_per_row(self) -> float:
        return self.busy_sec / self.rows


def slowest(
    records: Iterable[ShardRecord], busy_by_part: Mapping[str, float], most: int
) -> list[ShardTime]:
    """Up to `most` shards by busy seconds for a row, the slowest first.

    The seconds of a part are shared out by rows over the shards it holds. Rows of parts whose
    statistics are not there count for nothing.
    """
    held: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for share in record.shares:
            held[share.path.rpartition("/")[2]][record.ledger_id] += share.ids.rows
    rows: Counter[str] = Counter()
    seconds: dict[str, float] = defaultdict(float)
    mixed: set[str] = set()
    for part in held.keys() & busy_by_part.keys():
        by_shard, total = held[part], sum(held[part].values())
        mixed |= set(by_shard) if len(by_shard) > 1 else set()
        for shard, count in by_shard.items():
            rows[shard] += count
            seconds[shard] += busy_by_part[part] * count / max(1, total)
    found = [
        ShardTime(name=name, rows=count, busy_sec=seconds[name], shared=name in mixed)
        for name, count in rows.items()
        if count
    ]
    return sorted(found, key=lambda one: (-one.sec_per_row, one.name))[:most]
