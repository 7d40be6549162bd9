"""Sets of ids told apart by two numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

_WRAP: Final = 2**64
_HALF: Final = 2**63


@dataclass(frozen=True, slots=True)
class IdSum:
    """How many ids, and the sum of their 64-bit hashes modulo 2**64 (as a signed integer).

    Two sets of the same sum are the same set, but for one chance in 2**64; an id lost, doubled or
    exchanged shows. Sums of disjoint sets add up, so that a shard of any size is checked against
    the parts that hold it without a look at its ids.
    """

    rows: int = 0
    digest: int = 0

    @classmethod
    def of(cls, ids: Iterable[str]) -> IdSum:
        """The sum of `ids`; an id that occurs twice counts twice."""
        hashes = b"".join(
            hashlib.blake2b(i.encode("utf-8", "surrogatepass"), digest_size=8).digest() for i in ids
        )
        each = np.frombuffer(hashes, dtype="<i8")
        return cls(each.size, int(each.sum()))  # numpy wraps around

    def __add__(self, other: IdSum) -> IdSum:
        return IdSum(self.rows + other.rows, _wrapped(self.digest + other.digest))

    def __sub__(self, other: IdSum) -> IdSum:
        return IdSum(self.rows - other.rows, _wrapped(self.digest - other.digest))


def _wrapped(number: int) -> int:
    return (number + _HALF) % _WRAP - _HALF
