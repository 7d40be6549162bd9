"""Hashes within a few bits of another, found by looking up pieces of them.

Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): 64 bits are cut into bands, and each
band has a radius. Of hashes that differ in at most N bits, one band at least differs in no more
bits than its radius, provided the radii and the number of bands add up to N + 1: the pigeonhole.
So it is enough to look up, for each band, all values within its radius, and to compare the whole
hashes of what is found.

Up to 2 bits there are N + 1 bands of radius 0. Beyond, ever narrower bands would be shared by ever
more hashes; there stay 3, of 21 or 22 bits, and their radii grow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Final

__all__ = ["HASH_BITS", "Band", "bands_of", "distance"]

HASH_BITS: Final = 64
_ALL: Final = (1 << HASH_BITS) - 1
_MOST_BANDS: Final = 3


@dataclass(frozen=True, kw_only=True)
class Band:
    """Bits `start` to `start + width` of a hash.

    Attributes:
        masks: what to flip to reach every value within the radius; 0 among them.
    """

    start: int
    width: int
    masks: tuple[int, ...]

    def value(self, phash: int) -> int:
        """0 .. 2**width - 1, of a signed or unsigned hash."""
        return ((phash & _ALL) >> self.start) & ((1 << self.width) - 1)


@cache
def bands_of(most: int) -> tuple[Band, ...]:
    """By which hashes that differ in at most `most` bits are found."""
    count = min(most + 1, _MOST_BANDS)
    spare = most + 1 - count
    ends = [HASH_BITS * index // count for index in range(count + 1)]
    radii = [(spare + index) // count for index in range(count)]
    return tuple(
        Band(start=start, width=end - start, masks=_masks(end - start, radius))
        for start, end, radius in zip(ends, ends[1:], radii, strict=False)
    )


def distance(one: int, other: int) -> int:
    """Bits in which two hashes of 64 bits differ."""
    return ((one ^ other) & _ALL).bit_count()


def _masks(width: int, radius: int) -> tuple[int, ...]:
    """Every number of `width` bits of which at most `radius` are 1."""
    chosen = (bits for size in range(radius + 1) for bits in combinations(range(width), size))
    return tuple(sum(1 << bit for bit in bits) for bits in chosen)
