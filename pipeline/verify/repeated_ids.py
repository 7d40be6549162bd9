"""Ids that occur more than once among any number of rows, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

HASHES_IN_MEMORY: Final = 50_000_000
"""8 bytes each; more rows are looked at in several passes."""

_Hashes = npt.NDArray[np.uint64]


def find_repeated_ids(
    batches: Callable[[], Iterable[list[str]]], num_rows: int, at_once: int = HASHES_IN_MEMORY
) -> set[str]:
    """The ids that occur more than once.

    Args:
        batches: gives all ids, anew at each call.
        num_rows: how many there are, at least about.
    """
    passes = max(1, -(-num_rows // at_once))
    suspects = [_repeated(batches(), passes, turn) for turn in range(passes)]
    every = np.concatenate(suspects)
    return _confirm(batches(), set(every.tolist())) if every.size else set()


def _repeated(batches: Iterable[list[str]], passes: int, turn: int) -> _Hashes:
    """Hashes seen twice, of those whose turn it is."""
    mine = [hashes[hashes % np.uint64(passes) == turn] for hashes in map(_hashes, batches)]
    every = np.sort(np.concatenate(mine)) if mine else np.empty(0, np.uint64)
    return np.unique(every[1:][every[1:] == every[:-1]])


def _confirm(batches: Iterable[list[str]], suspects: set[int]) -> set[str]:
    """Of ids that share a hash, those that are equal."""
    seen: set[str] = set()
    twice: set[str] = set()
    for name in _of(batches, suspects):
        (twice if name in seen else seen).add(name)
    return twice


def _of(batches: Iterable[list[str]], suspects: set[int]) -> Iterator[str]:
    for ids in batches:
        marks = _hashes(ids).tolist()
        yield from (i for i, mark in zip(ids, marks, strict=True) if mark in suspects)


def _hashes(ids: list[str]) -> _Hashes:
    digests = (hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)
