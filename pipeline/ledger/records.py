"""What the ledger knows of a shard, as one record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, Final

import pyarrow as pa

from pipeline.parts.entries import Share
from pipeline.rows.idsum import IdSum

_SHARE: Final = pa.struct(
    [pa.field("path", pa.string()), pa.field("rows", pa.int64()), pa.field("digest", pa.int64())]
)
RECORD_SCHEMA: Final = pa.schema(
    [
        pa.field("ledger_id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("signature", pa.string()),
        pa.field("max_rows", pa.int64()),
        pa.field("complete", pa.bool_()),
        pa.field("captions", pa.int64()),
        pa.field("quarantined", pa.int64()),
        # JSON object, error code -> rows; null without any.
        pa.field("codes", pa.string()),
        pa.field("shares", pa.list_(_SHARE)),
        pa.field("withdrawn", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """One shard: which version of it, where its rows are, whether all are there.

    Attributes:
        name: the first half of its rows' `image_id`; several buckets of a folder share it.
        signature: the version that was opened (`Shard.signature`).
        max_rows: the `--limit` under which it was read; None for none.
        withdrawn: paths of parts that may still hold rows of this shard which are void. They are
            taken out before anything else happens to the output.
    """

    ledger_id: str
    name: str
    signature: str
    max_rows: int | None = None
    complete: bool = False
    shares: tuple[Share, ...] = ()
    codes: Mapping[str, int] = field(default_factory=dict)
    withdrawn: tuple[str, ...] = ()

    @property
    def ids(self) -> IdSum:
        """Of all its rows that are stored."""
        return reduce(add, (share.ids for share in self.shares), IdSum())

    @property
    def quarantined(self) -> int:
        return sum(share.ids.rows for share in self.shares if share.in_quarantine)

    @property
    def captions(self) -> int:
        return self.ids.rows - self.quarantined

    def with_shares(self, shares: Iterable[Share]) -> ShardRecord:
        """With more rows stored."""
        new = tuple(shares)
        codes = Counter(self.codes)
        for share in new:
            codes.update(share.codes)
        return replace(self, shares=self.shares + new, codes=dict(codes))

    def without(self, paths: Iterable[str]) -> ShardRecord:
        """With its rows in these parts declared void: incomplete, and to be taken out.

        Parts in quarantine go all at once, or the counts by code could not be kept.
        """
        void = set(paths)
        kept = tuple(share for share in self.shares if share.path not in void)
        assert not any(s.in_quarantine for s in kept) or not any("quarantine/" in p for p in void)
        return replace(
            self,
            complete=False,
            shares=kept,
            codes=self.codes if any(share.in_quarantine for share in kept) else {},
            withdrawn=(*self.withdrawn, *sorted(void)),
        )

    def to_row(self) -> dict[str, Any]:
        return {
            "ledger_id": self.ledger_id,
            "name": self.name,
            "signature": self.signature,
            "max_rows": self.max_rows,
            "complete": self.complete,
            "captions": self.captions,
            "quarantined": self.quarantined,
            "codes": json.dumps(dict(self.codes), sort_keys=True) if self.codes else None,
            "shares": [
                {"path": s.path, "rows": s.ids.rows, "digest": s.ids.digest} for s in self.shares
            ],
            "withdrawn": list(self.withdrawn),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> ShardRecord:
        shares = tuple(
            Share(path=s["path"], ids=IdSum(s["rows"], s["digest"])) for s in row["shares"]
        )
        return cls(
            ledger_id=row["ledger_id"],
            name=row["name"],
            signature=row["signature"],
            max_rows=row["max_rows"],
            complete=row["complete"],
            shares=shares,
            codes=json.loads(row["codes"]) if row["codes"] else {},
            withdrawn=tuple(row["withdrawn"]),
        )


def to_table(records: Iterable[ShardRecord]) -> pa.Table:
    return pa.Table.from_pylist([record.to_row() for record in records], schema=RECORD_SCHEMA)
