"""Sums of ids: by hand, in any order, and what they cannot be fooled with."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rows.idsum import IdSum

IDS = st.lists(st.text(max_size=8))


def hash_of(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def test_one_id_is_its_hash() -> None:
    # blake2b("a.tar#1", 8 bytes) read from the little end, worked out with b2sum -l 64.
    assert hashlib.blake2b(b"a.tar#1", digest_size=8).hexdigest() == "df5cdc844020ac1e"
    assert IdSum.of(["a.tar#1"]) == IdSum(1, 2210176978611100895)


def test_nothing_is_zero() -> None:
    assert IdSum.of([]) == IdSum() == IdSum(0, 0)


def test_sums_wrap_around_as_signed_numbers() -> None:
    """Eight ids of which the plain sum does not fit."""
    ids = [f"x#{i}" for i in range(1000)]
    big = sorted(ids, key=hash_of)[-8:]
    total = sum(map(hash_of, big))
    assert total >= 2**63
    expected = (total + 2**63) % 2**64 - 2**63
    assert IdSum.of(big) == IdSum(8, expected)
    assert sum((IdSum.of([i]) for i in big), IdSum()) == IdSum(8, expected)


@given(ids=IDS, more=IDS)
def test_the_sum_of_both_is_both_sums_in_any_order(ids: list[str], more: list[str]) -> None:
    both = IdSum.of(ids) + IdSum.of(more)
    assert both == IdSum.of(more[::-1] + ids) == IdSum.of(more) + IdSum.of(ids)
    assert both - IdSum.of(more) == IdSum.of(ids)
    assert -(2**63) <= both.digest < 2**63
    expected = sum(map(hash_of, ids + more))
    assert (both.digest - expected) % 2**64 == 0


@given(ids=st.lists(st.text(max_size=8), min_size=1), other=st.text(max_size=8), at=st.integers(0))
def test_an_id_lost_doubled_or_exchanged_shows(ids: list[str], other: str, at: int) -> None:
    at %= len(ids)
    whole, rest = IdSum.of(ids), ids[:at] + ids[at + 1 :]
    assert IdSum.of(rest) != whole
    assert IdSum.of([*ids, ids[at]]) != whole
    assert (IdSum.of([*rest, other]) == whole) == (other == ids[at])
    if len(rest) > 0 and rest[0] != ids[at]:  # one lost, another doubled: as many as before
        assert IdSum.of([*rest, rest[0]]).digest != whole.digest


@pytest.mark.parametrize("odd", ["\udcff.jpg", "", "\0", "ü", "#"])
def test_any_text_is_an_id(odd: str) -> None:
    assert IdSum.of([odd]) == IdSum(1, hash_of(odd))
