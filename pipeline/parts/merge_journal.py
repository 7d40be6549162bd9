"""Which parts are being merged just now: what a reader needs so that it sees every row once.

A merged part appears whole, by one write; the parts that it replaces go one by one after it. No
storage does both in one step, so the journal says beforehand which part stands for which:

1. the journal is stored, and a file that is no Parquet is put beside the parts (`MARK`);
2. merged parts are written;
3. the ledger names them instead of the parts that they replace;
4. the parts that were replaced are deleted, then the marks, and the journal is emptied.

Whoever lists parts by `Sink.parts` is told of a merged part *or* of those that it replaces, at any
moment and after a kill at any moment. Other programs, that read `captions/*.parquet`, fail at the
mark instead of counting rows twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Final

from pipeline.rows.errors import StorageError
from pipeline.storage.store import Store

__all__ = ["LEDGER_FOLDER", "MARK", "MERGING", "Merge", "MergeJournal", "load_journal", "steady"]

LEDGER_FOLDER: Final = "_ledger"
MERGING: Final = f"{LEDGER_FOLDER}/merging.json"
MARK: Final = "merging-is-under-way.parquet"
MARK_TEXT: Final = b"""\
Parts in this folder are being merged; a moment later this file is gone, and they can be read.
If nothing is at work there, the merging was killed: the same job run again ends it, or
`hired verify OUTPUT --compact`. No row is lost.
"""
_ATTEMPTS: Final = 20


@dataclass(frozen=True, kw_only=True)
class Merge:
    """One part in place of several of its kind; all are paths below the output."""

    into: str
    replaced: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MergeJournal:
    """What is being merged; nothing, mostly.

    Attributes:
        number: counts the changes of the journal, so that a reader notices one.
    """

    number: int = 0
    merges: tuple[Merge, ...] = ()

    def save(self, store: Store) -> None:
        store.put_json(MERGING, asdict(self))

    def following(self, merges: Iterable[Merge] = ()) -> MergeJournal:
        return MergeJournal(number=self.number + 1, merges=tuple(merges))

    def done(self, there: Collection[str]) -> list[Merge]:
        """The merges whose part is there: it stands for those that it replaces."""
        return [merge for merge in self.merges if merge.into in there]

    def seen(self, paths: list[str]) -> list[str]:
        """Of what a listing found, the paths that together hold every row once."""
        gone = {path for merge in self.done(set(paths)) for path in merge.replaced}
        return [path for path in paths if path not in gone]

    def mark(self, store: Store) -> None:
        """Makes programs that know nothing of this fail where they would count rows twice."""
        for folder in self._folders():
            store.put(f"{folder}/{MARK}", MARK_TEXT)

    def unmark(self, store: Store) -> None:
        for folder in self._folders():
            store.remove(f"{folder}/{MARK}")

    def _folders(self) -> list[str]:
        return sorted({merge.into.partition("/")[0] for merge in self.merges})


def load_journal(store: Store) -> MergeJournal:
    """An empty one where nothing was ever merged."""
    content = store.get_json(MERGING)
    if content is None:
        return MergeJournal()
    merges = (Merge(into=m["into"], replaced=tuple(m["replaced"])) for m in content["merges"])
    return MergeJournal(number=content["number"], merges=tuple(merges))


def steady(store: Store, look: Callable[[MergeJournal], list[str]]) -> list[str]:
    """What `look` finds, told of the journal; it looks again if that has changed meanwhile.

    Raises:
        StorageError: if it never keeps still.
    """
    journal = load_journal(store)
    for _ in range(_ATTEMPTS):
        found, after = look(journal), load_journal(store)
        if after == journal:
            return found
        journal = after
    raise StorageError("parts of the output are being merged all the time; try again later")
