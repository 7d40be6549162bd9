"""Every image and prompt that has a caption, or is about to get one.

SQLite in a temporary file that is gone with the process, since the output is its own record: the
registry is filled from the captions that are stored when a run begins. Memory is that of SQLite's
page cache, however many rows there are.

Whoever asks first is the *first*: its caption is made, and copied to those who ask later. Asking
again is answered the same: Ray runs a batch twice where a worker has died.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pipeline.copies.bands import bands_of, distance
from pipeline.copies.claims import Asked, Claim, First, Known, Likeness

__all__ = ["CACHE_MIB", "Registry"]

CACHE_MIB: Final = 64

_SCHEMA: Final = """
CREATE TABLE parts (part INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE);
CREATE TABLE firsts (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, image_id TEXT NOT NULL, part INTEGER,
    is_copy INTEGER, prompt INTEGER, phash INTEGER, near INTEGER, distance INTEGER,
    width INTEGER, height INTEGER
);
CREATE TABLE bands (value INTEGER, number INTEGER, PRIMARY KEY (value, number)) WITHOUT ROWID;
"""
# What was copied is as good as what it was copied from, but is not where others should point.
_KNOWN: Final = """
INSERT INTO firsts (key, image_id, part, is_copy, prompt, phash) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET image_id = excluded.image_id, part = excluded.part, is_copy = 0
WHERE firsts.is_copy AND NOT excluded.is_copy
"""
_RESOLVE: Final = """
SELECT f.number, coalesce(n.image_id, f.image_id), p.path, f.distance,
       iif(f.near, f.phash, NULL), f.width, f.height
FROM firsts f LEFT JOIN firsts n ON n.number = f.near
LEFT JOIN parts p ON p.part = iif(f.near, n.part, f.part)
WHERE f.number = ?
"""


class Registry:
    """See the module.

    Args:
        near: bits by which the hashes of near duplicates may differ; None looks for none.
    """

    def __init__(self, near: int | None = None, cache_mib: int = CACHE_MIB) -> None:
        self._near = near
        self._bands = () if near is None else bands_of(near)
        # An empty name: a file that SQLite deletes when it is closed, or dies.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            f"PRAGMA cache_size = -{cache_mib * 1024}; {_SCHEMA}"
        )

    def __len__(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM firsts").fetchone()[0]
        return count

    def claim(self, asked: Sequence[Asked]) -> list[Claim]:
        """For each row, whether it is the first of its image and prompt; it is, if none was."""
        with self._transaction():
            return [self._claim(each) for each in asked]

    def liken(self, likenesses: Sequence[Likeness]) -> list[bool]:
        """For each first, whether it gets the caption of one that looks like it after all.

        The nearest, of equally near ones that which came first. Later ones are compared with it
        only if it does not.
        """
        with self._transaction():
            return [self._liken(each) for each in likenesses]

    def stored(self, path: str, asked: Sequence[Asked]) -> None:
        """The part at `path` holds these rows; of firsts that is noted."""
        with self._transaction():
            part = self._part(path)
            self._db.executemany(
                "UPDATE firsts SET part = ? WHERE key = ? AND image_id = ?",
                ((part, each.key, each.image_id) for each in asked),
            )

    def resolve(self, numbers: Sequence[int]) -> dict[int, First]:
        """Whose caption the rows get that were told these numbers."""
        rows = (self._db.execute(_RESOLVE, (number,)).fetchone() for number in numbers)
        return {row[0]: First(*row[1:]) for row in rows}

    def learn(self, path: str, known: Iterable[Known]) -> None:
        """The part at `path` holds captions of these rows."""
        with self._transaction():
            part = self._part(path)
            # In the order of the index, which is then read and written page by page.
            rows = sorted(
                (k.asked.key, k.asked.image_id, part, k.is_copy, *self._marks(k)) for k in known
            )
            self._db.executemany(_KNOWN, rows)

    def index(self) -> None:
        """Make what was learnt findable by likeness."""
        with self._transaction():
            found = self._db.execute(
                "SELECT number, prompt, phash FROM firsts WHERE phash IS NOT NULL AND near IS NULL"
            )
            self._enter(found)

    def _marks(self, known: Known) -> tuple[int | None, int | None]:
        if self._near is None or known.phash is None:
            return None, None
        return known.asked.prompt_mark, known.phash

    def _claim(self, asked: Asked) -> Claim:
        new = "INSERT INTO firsts (key, image_id) VALUES (?, ?) ON CONFLICT (key) DO NOTHING"
        self._db.execute(new, (asked.key, asked.image_id))
        found = "SELECT number, image_id FROM firsts WHERE key = ?"
        number, image_id = self._db.execute(found, (asked.key,)).fetchone()
        return Claim(number, image_id == asked.image_id)

    def _liken(self, like: Likeness) -> bool:
        known = "SELECT near, phash FROM firsts WHERE number = ?"
        near, phash = self._db.execute(known, (like.number,)).fetchone()
        if near is not None or phash is not None:
            return near is not None
        mark = like.asked.prompt_mark
        found = self._nearest(mark, like.phash)
        bits, near = found or (None, None)
        self._db.execute(
            "UPDATE firsts SET prompt = ?, phash = ?, near = ?, distance = ?, width = ?, "
            "height = ? WHERE number = ?",
            (mark, like.phash, near, bits, like.width, like.height, like.number),
        )
        if near is None:
            self._enter([(like.number, mark, like.phash)])
        return near is not None

    def _nearest(self, mark: int, phash: int) -> tuple[int, int] | None:
        """(bits, number) of the nearest; None if none is near enough."""
        assert self._near is not None, "nobody asks for likeness"
        values = [
            hash((mark, band.start, band.value(phash) ^ mask))
            for band in self._bands
            for mask in band.masks
        ]
        marks = ",".join("?" * len(values))
        rows = self._db.execute(
            "SELECT f.phash, f.number FROM bands b JOIN firsts f ON f.number = b.number "
            f"WHERE b.value IN ({marks}) AND f.prompt = ?",
            (*values, mark),
        )
        best = min(((distance(phash, other), number) for other, number in rows), default=None)
        return best if best is not None and best[0] <= self._near else None

    def _enter(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """Into the bands: (number, prompt, hash)."""
        self._db.executemany("INSERT OR IGNORE INTO bands VALUES (?, ?)", self._values(rows))

    def _values(self, rows: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int]]:
        for number, mark, phash in rows:
            for band in self._bands:
                # Of integers alone a hash is the same all over the process.
                yield hash((mark, band.start, band.value(phash))), number

    def _part(self, path: str) -> Any:
        self._db.execute("INSERT INTO parts (path) VALUES (?) ON CONFLICT DO NOTHING", (path,))
        return self._db.execute("SELECT part FROM parts WHERE path = ?", (path,)).fetchone()[0]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One for many rows: each would cost as much."""
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")
