"""What a part says of itself: an entry for each shard that has rows in it.

Entries travel as JSON in the part's own metadata, so that nothing that was committed is done again,
whatever became of the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pipeline.parts.sink import Sink
from pipeline.rows.idsum import IdSum

SHARES_KEY: Final = "shares"
_THREADS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Share:
    """The rows of one shard in one part.

    Attributes:
        path: of the part below the output, e.g. "captions/part-....parquet".
        codes: rows by error code, for parts in quarantine.
    """

    path: str
    ids: IdSum
    codes: Mapping[str, int] = field(default_factory=dict)

    @property
    def in_quarantine(self) -> bool:
        return self.path.startswith("quarantine/")


@dataclass(frozen=True, kw_only=True)
class PartEntry:
    """The rows of one shard in one part, as the part's own metadata tells.

    Attributes:
        fingerprint: under which the part was made; empty where that is not of interest.
    """

    ledger_id: str
    name: str
    share: Share
    fingerprint: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "ledger_id": self.ledger_id,
            "name": self.name,
            "rows": self.share.ids.rows,
            "digest": self.share.ids.digest,
            "codes": dict(self.share.codes),
        }

    @classmethod
    def from_json(cls, path: str, content: Mapping[str, Any]) -> PartEntry:
        ids = IdSum(content["rows"], content["digest"])
        share = Share(path=path, ids=ids, codes=content["codes"])
        return cls(ledger_id=content["ledger_id"], name=content["name"], share=share)


def read_entries(sink: Sink, paths: Iterable[str]) -> list[PartEntry]:
    """What the parts at `paths` say they hold."""
    with ThreadPoolExecutor(_THREADS) as pool:
        every = pool.map(lambda path: entries_of(sink, path), list(paths))
        return [entry for entries in every for entry in entries]


def entries_of(sink: Sink, path: str) -> list[PartEntry]:
    """Nothing, if the part is gone."""
    if not sink.exists(path):
        return []
    metadata = sink.metadata(path)
    entries = (PartEntry.from_json(path, content) for content in metadata[SHARES_KEY])
    return [replace(each, fingerprint=metadata["fingerprint"]) for each in entries]


def merged_entries(path: str, entries: Iterable[PartEntry]) -> list[PartEntry]:
    """What one part at `path` holds with the rows of all of these, by shard."""
    found: dict[str, PartEntry] = {}
    for entry in entries:
        before = found.get(entry.ledger_id)
        share = entry.share if before is None else _together(before.share, entry.share)
        found[entry.ledger_id] = replace(entry, share=replace(share, path=path))
    return [found[ledger_id] for ledger_id in sorted(found)]


def _together(one: Share, other: Share) -> Share:
    codes = Counter(one.codes) + Counter(other.codes)
    return replace(one, ids=one.ids + other.ids, codes=dict(codes))
