"""An output that is looked at: where its parts are, and what is stored of it as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger.identity import Identity, load_identity
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.snapshots import load_ledger
from pipeline.parts.sink import LOCK, REPORT, Sink
from pipeline.rows.errors import ConfigError
from pipeline.sources import redact_url

__all__ = ["Subject", "subjects_of"]

_RUNS: Final = "runs"
"""What --new-run writes to below an output."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One output.

    Attributes:
        name: as it was given, without credentials.
        report: content of report.json, of the run that ended last; empty before one has.
        identity: None for an output that no run has begun to fill.
        under_way: whether a run holds it, or was killed while it did.
    """

    name: str
    sink: Sink
    report: Mapping[str, Any] = field(default_factory=dict)
    identity: Identity | None = None
    ledger: Ledger = field(default_factory=Ledger)
    under_way: bool = False

    @property
    def fields(self) -> Mapping[str, Any]:
        """What the fingerprint is taken over."""
        if self.identity is not None:
            return self.identity.fields
        found: Mapping[str, Any] = self.report.get("fingerprint_fields") or {}
        return found

    @property
    def fingerprint(self) -> str:
        known = self.identity.fingerprint if self.identity else self.report.get("fingerprint", "")
        return str(known)

    def folders(self) -> set[str]:
        """Names of shards that are folders of loose images, whose buckets have ids of their own."""
        table = self.ledger.to_table().select(["ledger_id", "name"])
        odd = table.filter(pc.not_equal(table["ledger_id"], table["name"]))
        return set(pc.unique(odd["name"]).to_pylist())

    def num_shards(self) -> int:
        """That any run has begun."""
        return int(self.ledger.to_table().num_rows)

    def unfinished(self) -> int:
        """Shards that a run has begun and not finished."""
        complete = self.ledger.to_table()["complete"]
        return int(pc.sum(pc.cast(pc.invert(complete), pa.int64())).as_py() or 0)


def subjects_of(urls: Sequence[str], storage_options: Mapping[str, Any]) -> list[Subject]:
    """The outputs at `urls`, each followed by those below it that --new-run made.

    Raises:
        ConfigError: if there is nothing at one of them.
    """
    found = [subject for url in urls for subject in _at(url, storage_options)]
    by_url = {subject.sink.url.rstrip("/"): subject for subject in found}
    return list(by_url.values())


def _at(url: str, storage_options: Mapping[str, Any]) -> Iterator[Subject]:
    sink = Sink(url=url.rstrip("/") or url, storage_options=storage_options)
    mine = _load(sink)
    below = [
        _load(Sink(url=f"{sink.url}/{path}", storage_options=storage_options))
        for path in sink.names(_RUNS)
    ]
    found = [subject for subject in [mine, *below] if subject is not None]
    if not found:
        raise ConfigError(f"output: there are no results at {redact_url(sink.url)}")
    yield from found


def _load(sink: Sink) -> Subject | None:
    """None where no run has begun and no part lies."""
    identity, report = load_identity(sink), sink.get_json(REPORT)
    if identity is None and report is None and not any(map(sink.parts, ("captions", "quarantine"))):
        return None
    return Subject(
        name=redact_url(sink.url),
        sink=sink,
        report=report or {},
        identity=identity,
        ledger=load_ledger(sink) or Ledger(),
        under_way=sink.exists(LOCK),
    )
