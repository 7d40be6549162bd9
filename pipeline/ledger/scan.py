"""Parts of which the ledger does not know: what a killed run stored last.

Each part tells of itself, so nothing that was committed is done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from pipeline.ledger.ledger import Ledger
from pipeline.ledger.records import Share
from pipeline.ledger.sink import ROW_KINDS, Sink
from pipeline.rows.idsum import IdSum

SHARES_KEY: Final = "shares"
_THREADS: Final = 16


@dataclass(frozen=True, kw_only=True)
class Held:
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
    def from_json(cls, path: str, content: Mapping[str, Any]) -> Held:
        ids = IdSum(content["rows"], content["digest"])
        share = Share(path=path, ids=ids, codes=content["codes"])
        return cls(ledger_id=content["ledger_id"], name=content["name"], share=share)


def unknown_parts(sink: Sink, ledger: Ledger, run_ids: Iterable[str]) -> list[str]:
    """Parts of these runs that no record names."""
    runs = list(run_ids)
    known = ledger.paths_of_runs(runs)
    stored = (path for kind in ROW_KINDS for run in runs for path in sink.parts(kind, run))
    return [path for path in stored if path not in known]


def read_held(sink: Sink, paths: Iterable[str]) -> list[Held]:
    """What the parts at `paths` say they hold."""
    with ThreadPoolExecutor(_THREADS) as pool:
        every = pool.map(lambda path: held_in(sink, path), list(paths))
        return [held for each in every for held in each]


def held_in(sink: Sink, path: str) -> list[Held]:
    """Nothing, if the part is gone."""
    if not sink.exists(path):
        return []
    metadata = sink.metadata(path)
    held = (Held.from_json(path, content) for content in metadata[SHARES_KEY])
    return [replace(each, fingerprint=metadata["fingerprint"]) for each in held]
