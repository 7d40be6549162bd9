"""Rows drawn in one pass: no more than asked for, of every order the same, from few shards."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.reading.draw import Draw
from pipeline.report.reading.parts_read import Names, Place

SHARDS = [f"s{n}" for n in range(20)]


def drawn(size: int, seed: int, rows: int, pieces: int, backwards: bool = False) -> list[Place]:
    """Of `rows` rows of one part that lie in 20 shards in turn, offered in pieces."""
    draw: Draw[str] = Draw(size, seed)
    chunks = [chunk for chunk in np.array_split(np.arange(rows), pieces) if len(chunk)]
    for chunk in reversed(chunks) if backwards else chunks:
        draw.offer("k", Names(SHARDS, chunk % len(SHARDS)), "part", chunk)
    return draw.drawn("k")


@given(st.integers(1, 30), st.integers(0, 99), st.integers(0, 300), st.integers(1, 9))
def test_the_same_rows_in_any_order(size: int, seed: int, rows: int, pieces: int) -> None:
    found = drawn(size, seed, rows, pieces)
    assert len(found) == len(set(found)) == min(size, rows)
    assert all(0 <= position < rows for _, position in found)
    assert found == drawn(size, seed, rows, 1) == drawn(size, seed, rows, pieces, backwards=True)


def test_rows_come_from_few_shards_and_from_more_where_these_are_small() -> None:
    shards = Counter(position % 20 for _, position in drawn(12, 0, 2000, 5))
    assert sorted(shards.values()) == [3, 3, 3, 3]
    assert len({position % 20 for _, position in drawn(12, 0, 20, 1)}) == 12
    one: Draw[str] = Draw(12, 0)
    one.offer("k", Names(["s"], np.zeros(40, dtype=np.int64)), "part", np.arange(40))
    assert len(one.drawn("k")) == 12


def test_each_row_has_its_chance() -> None:
    """Over 400 seeds each of 60 rows is drawn about 400 * 12 / 60 = 80 times (deviation: 12, as
    three of a shard come together)."""
    times = Counter(position for seed in range(400) for _, position in drawn(12, seed, 60, 1))
    assert len(times) == 60 and min(times.values()) > 35 and max(times.values()) < 130


def test_keys_are_apart() -> None:
    draw: Draw[str] = Draw(2, 0)
    for key in ("a", "b"):
        draw.offer(key, Names(["s"], np.zeros(1, dtype=np.int64)), key, np.zeros(1, dtype=np.int64))
    assert draw.drawn("a") == [("a", 0)] and draw.drawn("b") == [("b", 0)]
    assert draw.drawn("c") == []
