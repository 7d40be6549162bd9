"""No hash within the distance is missed, and few others are looked at."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.copies.bands import HASH_BITS, bands_of, distance
from pipeline.settings.config import MOST_DISTANCE

HASHES = st.integers(-(2**63), 2**63 - 1)


def share_a_band(one: int, other: int, most: int) -> bool:
    """Whether looking up the bands of one finds the other."""
    return any(
        band.value(one) ^ mask == band.value(other)
        for band in bands_of(most)
        for mask in band.masks
    )


@pytest.mark.parametrize("most", range(MOST_DISTANCE + 1))
def test_bands_cover_all_bits_once(most: int) -> None:
    bands = bands_of(most)
    edges = [(band.start, band.start + band.width) for band in bands]
    assert edges[0][0] == 0 and edges[-1][1] == HASH_BITS
    assert all(end == start for (_, end), (start, _) in pairwise(edges))
    assert sum(len(band.masks) for band in bands) < 4000  # lookups for one hash


@given(HASHES, st.integers(0, MOST_DISTANCE), st.data())
def test_what_differs_in_that_many_bits_shares_a_band(
    phash: int, most: int, data: st.DataObject
) -> None:
    """Wherever the bits are: the worst case is one more than the radius in all bands but one."""
    flipped = data.draw(st.sets(st.integers(0, HASH_BITS - 1), max_size=most))
    other = phash
    for bit in flipped:
        other ^= -(2**63) if bit == 63 else 1 << bit
    assert distance(phash, other) == len(flipped)
    assert share_a_band(phash, other, most)


@pytest.mark.parametrize("most", range(MOST_DISTANCE + 1))
def test_bits_spread_over_the_bands_are_found_and_one_more_is_not(most: int) -> None:
    """As evenly as the pigeonhole allows; then one bit more in the band that has room."""
    bands = bands_of(most)
    radii = [max(mask.bit_count() for mask in band.masks) for band in bands]
    assert sum(radii) + len(radii) == most + 1
    just_over = sum(((1 << (r + 1)) - 1) << b.start for r, b in zip(radii, bands, strict=True))
    assert distance(0, just_over) == most + 1
    assert not share_a_band(0, just_over, most)
    assert all(share_a_band(0, just_over ^ (1 << band.start), most) for band in bands)


@pytest.mark.parametrize(
    ("one", "other", "bits"), [(0, 0, 0), (-1, 0, 64), (-(2**63), 0, 1), (5, 6, 2), (-1, -2, 1)]
)
def test_distance_of_signed_hashes(one: int, other: int, bits: int) -> None:
    assert distance(one, other) == bits
