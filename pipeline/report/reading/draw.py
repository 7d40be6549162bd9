"""A few rows of many, drawn in one pass: at random, the same each time, from few shards.

Whoever looks at the images of the rows that are drawn has to read their shards, so shards are drawn
first, and then some rows of each.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.report.reading.parts_read import Names, Place

__all__ = ["Draw"]

_AT_ONCE: Final = 3
"""Rows taken of a shard before the next one has its turn."""

K = TypeVar("K", bound=Hashable)
_Row = tuple[float, Place]


class Draw(Generic[K]):
    """Draws up to `size` rows for each key; memory grows with keys and `size`, not with rows.

    A row's turn follows from the seed, its shard and its place, not from the order in which rows
    are offered.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._held: dict[K, dict[str, list[_Row]]] = defaultdict(dict)
        self._turns: dict[str, float] = {}

    def offer(self, key: K, shards: Names, path: str, positions: npt.NDArray[np.int64]) -> None:
        """Rows of the part at `path` that are of `key`; `shards` names the shard of each."""
        turns = self._rows_turns(path, positions)
        there = [int(code) for code in np.unique(shards.codes)]
        there.sort(key=lambda code: self._turn(shards.texts[code]))
        for code in there[: self._size]:
            mine = np.flatnonzero(shards.codes == code)
            best = mine[np.argsort(turns[mine], kind="stable")[: self._size]]
            rows = [(float(turns[i]), (path, int(positions[i]))) for i in best]
            self._hold(key, shards.texts[code], rows)

    def drawn(self, key: K) -> list[Place]:
        """Of the shard whose turn is first some rows, of the next, and so on; then more of each."""
        shards = sorted(self._held[key], key=self._turn)
        queues = [list(self._held[key][shard]) for shard in shards]
        found: list[Place] = []
        while any(queues) and len(found) < self._size:
            for queue in queues:
                found += [place for _, place in queue[:_AT_ONCE]]
                del queue[:_AT_ONCE]
        return found[: self._size]

    def _hold(self, key: K, shard: str, rows: list[_Row]) -> None:
        held = self._held[key]
        held[shard] = sorted([*held.get(shard, []), *rows])[: self._size]
        if len(held) > self._size:
            del held[max(held, key=self._turn)]

    def _turn(self, shard: str) -> float:
        if len(self._turns) > 4096:
            self._turns.clear()
        if shard not in self._turns:
            self._turns[shard] = _fraction(f"{self._seed}/{shard}")
        return self._turns[shard]

    def _rows_turns(self, path: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """In [0, 1); by a counter-based mixing of place and seed."""
        mark = np.uint64(int(_fraction(f"{self._seed}/{path}") * 2**53))
        with np.errstate(over="ignore"):
            x = (positions.astype(np.uint64) + mark) * np.uint64(0x9E3779B97F4A7C15)
            for shift in (30, 27):
                x = (x ^ (x >> np.uint64(shift))) * np.uint64(0xBF58476D1CE4E5B9)
        return (x >> np.uint64(11)).astype(np.float64) / 2**53


def _fraction(text: str) -> float:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
