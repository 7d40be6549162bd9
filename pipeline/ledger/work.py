"""What a run has to open, by comparing the input with the ledger."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from pipeline.ledger.ledger import Ledger
from pipeline.ledger.records import ShardRecord
from pipeline.parts.sink import Sink
from pipeline.rows.errors import InputError
from pipeline.sources import Shard, StoredRows

SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A shard to open.

    Attributes:
        parts: paths of the parts that hold rows of it already.
    """

    shard: Shard
    parts: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        content = json.loads(text)
        shard = content["shard"] | {"files": tuple(content["shard"]["files"])}
        return cls(shard=Shard(**shard), parts=tuple(content["parts"]))

    def done(self, sink: Sink) -> StoredRows:
        """The rows that are stored, read from the parts."""
        times: Counter[str] = Counter()
        for path in self.parts:
            table = sink.read_part(path, ["image_id", "shard"])
            ids, shards = table["image_id"].to_pylist(), table["shard"].to_pylist()
            times.update(i for i, name in zip(ids, shards, strict=True) if name == self.shard.name)
        return StoredRows(times.keys(), sum(count - 1 for count in times.values()))


@dataclass(frozen=True, kw_only=True)
class Work:
    """The input, shard by shard.

    Attributes:
        to_open: new or unfinished.
        num_complete: with all rows stored.
        changed: opened before as another version than the one that is there now.
    """

    to_open: tuple[Shard, ...]
    num_complete: int
    changed: tuple[Shard, ...]

    def without_changed(self) -> Work:
        """With changed shards left as they are."""
        left = {shard.ledger_id for shard in self.changed}
        kept = tuple(shard for shard in self.to_open if shard.ledger_id not in left)
        return replace(self, to_open=kept)


def find_work(shards: Iterable[Shard], ledger: Ledger) -> Work:
    """Which of `shards` are to be opened; changed ones are among them."""
    to_open: list[Shard] = []
    changed: list[Shard] = []
    num_complete = 0
    for shard in shards:
        facts = ledger.facts(shard.ledger_id)
        if facts is None:
            to_open.append(shard)
            continue
        complete, signature, max_rows = facts
        if has_changed(signature, shard.signature):
            changed.append(shard)
            to_open.append(shard)
        elif complete and signature == shard.signature and _covers(max_rows, shard.max_rows):
            num_complete += 1
        else:
            to_open.append(shard)
    return Work(to_open=tuple(to_open), num_complete=num_complete, changed=tuple(changed))


def has_changed(before: str, now: str) -> bool:
    """Whether rows that were read are there no more as they were; new loose images are no change.

    The signature of loose images lists files: one that is gone leaves its caption as it is. An
    empty one is that of a ledger made anew: nothing is known.
    """
    if before in ("", now):
        return False
    if not now.startswith("{"):
        return True
    old: Mapping[str, str] = json.loads(before)
    new: Mapping[str, str] = json.loads(now)
    return any(new[name] != version for name, version in old.items() if name in new)


def refuse_changed(work: Work) -> None:
    """Raises `InputError` if any shard is another than it was."""
    if not work.changed:
        return
    names = ", ".join(shard.ledger_id for shard in work.changed[:SHOWN])
    more = f" and {len(work.changed) - SHOWN} more" if len(work.changed) > SHOWN else ""
    raise InputError(
        f"input: changed since captioned: {names}{more}. Choose --on-changed redo (caption them "
        "anew) or skip (keep the captions there are)"
    )


def opened(shard: Shard, record: ShardRecord | None) -> ShardRecord:
    """The record of a shard that is about to be read."""
    before = record or ShardRecord(
        ledger_id=shard.ledger_id, name=shard.name, signature=shard.signature
    )
    return replace(before, signature=shard.signature, max_rows=shard.max_rows, complete=False)


def assign(shard: Shard, record: ShardRecord) -> Assignment:
    return Assignment(shard=shard, parts=tuple(sorted(share.path for share in record.shares)))


def _covers(before: int | None, now: int | None) -> bool:
    return before is None or (now is not None and now <= before)
