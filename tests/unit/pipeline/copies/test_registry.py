"""The first to ask is the first, however often it asks; near ones are those that a search by hand
finds."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.copies.bands import distance
from pipeline.copies.claims import Asked, Claim, First, Known, Likeness
from pipeline.copies.registry import Registry


def asked(content: str, image_id: str, prompt: str = "p") -> Asked:
    return Asked(hashlib.sha256(content.encode()).hexdigest(), prompt, image_id)


def look(registry: Registry, content: str, image_id: str, phash: int, prompt: str = "p") -> bool:
    """Claims and, where it is the first of its bytes, likens; whether it was met before."""
    ask = asked(content, image_id, prompt)
    (claim,) = registry.claim([ask])
    if not claim.is_first:
        return True
    return registry.liken([Likeness(claim.number, ask, phash, 30, 20)])[0]


def first_of(registry: Registry, content: str, prompt: str = "p") -> First:
    """Whose caption this image gets, told to somebody who comes last."""
    (claim,) = registry.claim([asked(content, "last", prompt)])
    return registry.resolve([claim.number])[claim.number]


def test_the_first_to_ask_is_first_again_and_others_are_not() -> None:
    registry = Registry()
    a, b = asked("x", "a#0"), asked("x", "b#0")
    assert registry.claim([a, b, asked("y", "b#1")]) == [
        Claim(1, True),
        Claim(1, False),
        Claim(2, True),
    ]
    assert registry.claim([b, a]) == [Claim(1, False), Claim(1, True)]
    assert len(registry) == 2


def test_another_prompt_is_another_question() -> None:
    registry = Registry()
    asks = [asked("x", f"a#0#q{i}", prompt) for i, prompt in enumerate(["How?", "Why?", "How?"])]
    assert [claim.is_first for claim in registry.claim(asks)] == [True, True, False]


def test_a_first_is_found_once_it_is_stored_and_only_by_its_own_row() -> None:
    registry = Registry()
    registry.claim([asked("x", "a#0"), asked("x", "b#0")])
    assert first_of(registry, "x") == First("a#0", None, None, None, None, None)
    registry.stored("quarantine/part-1", [asked("x", "b#0"), asked("other", "a#0")])
    assert first_of(registry, "x").path is None
    registry.stored("captions/part-1", [asked("x", "a#0")])
    assert first_of(registry, "x").path == "captions/part-1"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_stored_captions_are_known_and_originals_go_before_copies(order: tuple[int, int]) -> None:
    registry = Registry()
    parts = [
        ("captions/part-1", [Known(asked("x", "a#0"), False, None)]),
        ("captions/part-2", [Known(asked("x", "b#0"), True, None)]),
    ]
    for index in order:
        registry.learn(*parts[index])
    assert len(registry) == 1
    assert first_of(registry, "x") == First("a#0", "captions/part-1", None, None, None, None)


def test_a_copy_is_as_good_as_its_original_where_that_is_gone() -> None:
    registry = Registry()
    registry.learn("captions/part-2", [Known(asked("x", "b#0"), True, None)])
    assert first_of(registry, "x").image_id == "b#0"


def test_near_ones_get_the_caption_of_the_nearest_first_that_has_its_own() -> None:
    registry = Registry(near=3)
    assert not look(registry, "a", "a", 0b0)
    assert not look(registry, "b", "b", 0b1111)
    assert look(registry, "c", "c", 0b0111)  # 3 bits from a, 1 from b
    assert first_of(registry, "c") == First("b", None, 1, 0b0111, 30, 20)
    # Near to c, which has no caption of its own, and to no other.
    assert not look(registry, "d", "d", 0b1110111)
    assert look(registry, "e", "e", 0b0011)  # as near to a as to b
    assert first_of(registry, "e").image_id == "a"


def test_the_same_is_said_when_a_batch_comes_again() -> None:
    registry = Registry(near=3)
    assert not look(registry, "a", "a", 0b0)
    assert look(registry, "b", "b", 0b11)
    assert not look(registry, "c", "c", 0b11111)
    assert not look(registry, "a", "a", 0b0)
    assert look(registry, "b", "b", 0b11)  # though c is as near
    assert first_of(registry, "b") == First("a", None, 2, 0b11, 30, 20)


def test_who_was_told_to_wait_for_one_that_turns_out_a_near_one_gets_its_caption() -> None:
    registry = Registry(near=3)
    look(registry, "a", "a", 0b0)
    registry.stored("captions/part-1", [asked("a", "a")])
    (early,) = registry.claim([asked("b", "b")])
    (late,) = registry.claim([asked("b", "b again")])
    assert (early.is_first, late.is_first) == (True, False)
    assert registry.liken([Likeness(early.number, asked("b", "b"), 0b11, 8, 9)]) == [True]
    assert registry.resolve([late.number]) == {
        late.number: First("a", "captions/part-1", 2, 0b11, 8, 9)
    }


def test_likeness_is_of_the_same_prompt() -> None:
    registry = Registry(near=3)
    assert not look(registry, "a", "a#q0", 0b0, "How?")
    assert not look(registry, "b", "b#q0", 0b1, "Why?")
    assert look(registry, "b", "b#q1", 0b1, "How?")


def test_learnt_captions_are_found_by_likeness() -> None:
    registry = Registry(near=2)
    known = [Known(asked("a", "a"), False, -1), Known(asked("flat", "f"), False, None)]
    registry.learn("captions/part-1", known)
    registry.index()
    assert look(registry, "b", "b", -4)
    assert first_of(registry, "b") == First("a", "captions/part-1", 2, -4, 30, 20)
    assert not look(registry, "c", "c", -8)


# Few bits in use, here and there, so that many are near and some are not.
BITS = st.sets(st.sampled_from([0, 1, 20, 21, 22, 41, 42, 43, 62, 63]), max_size=8)


@given(st.integers(0, 10), st.lists(BITS, max_size=30), st.integers(0, 30))
def test_near_ones_are_those_that_comparing_with_each_finds(
    most: int, drawn: list[set[int]], num_learnt: int
) -> None:
    """Some learnt from captions, where all are firsts; the others asked one by one."""
    hashes = [sum(-(2**63) if bit == 63 else 1 << bit for bit in bits) for bits in drawn]
    registry, firsts = Registry(near=most), dict[int, int]()
    learnt = list(enumerate(hashes))[:num_learnt]
    registry.learn("p", [Known(asked(str(i), str(i)), False, h) for i, h in learnt])
    registry.index()
    order = {image_id: place for place, image_id in enumerate(_by_number(registry, learnt))}
    firsts.update(learnt)
    for index, phash in list(enumerate(hashes))[num_learnt:]:
        near = [(distance(phash, other), order.get(i, i), i) for i, other in firsts.items()]
        best = min((each for each in near if each[0] <= most), default=None)
        assert look(registry, str(index), str(index), phash) == (best is not None)
        if best is None:
            firsts[index] = phash
        else:
            found = first_of(registry, str(index))
            assert (found.image_id, found.distance) == (str(best[2]), best[0])


def _by_number(registry: Registry, learnt: list[tuple[int, int]]) -> list[int]:
    """Learnt rows in the order of their numbers, of which the lower goes first among equals."""
    asks = [asked(str(i), str(i)) for i, _ in learnt]
    numbers = {claim.number: i for claim, (i, _) in zip(registry.claim(asks), learnt, strict=True)}
    return [numbers[number] for number in sorted(numbers)]
