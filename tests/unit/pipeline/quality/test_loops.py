"""Loops: found where words repeat at once, and not where a text merely says a word again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality.loops import LEAST_COPIES, LEAST_WORDS, LONGEST_UNIT, Loop, find_loop


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("go " * 8, Loop("go", 8, 0)),
        ("A sign: " + "a red circle, " * 4 + "end", Loop("a red circle,", 4, 8)),
        ("One. " + "The cat sat. THE CAT SAT. " * 2, Loop("The cat sat.", 4, 5)),
        ("猫が好き。" * 4, Loop("猫が好き。", 4, 0)),
        ("it says hahahahahahahahahaha loudly", Loop("ha", 10, 8)),
        ("0 0 0 0 0 0 0 0", Loop("0", 8, 0)),
        ("x " + "a b " * 7, Loop("a b", 7, 2)),
    ],
)
def test_a_loop_is_found_where_it_begins(text: str, loop: Loop) -> None:
    assert find_loop(text) == loop


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?!",
        "go " * 7,  # Seven words.
        "a red circle, " * 3,  # Three copies.
        "Chapter 1 . . . . . . . . . . . . 7",
        "Name: ____________________________",
        "===========================",
        "the cat and the dog and the bird and the fish and the horse and the cow and the pig",
        "1 2 3 4 1 2 3 4 1 2 3 4",
        "hahahaha",
        "10000000000",
        "the meter reads 0000000000 today",
    ],
)
def test_what_is_no_loop(text: str) -> None:
    assert find_loop(text) is None


@given(
    st.lists(st.sampled_from("abcdef"), max_size=12),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    st.integers(1, 9),
    st.lists(st.sampled_from("abcdef"), max_size=6),
)
def test_it_is_what_a_plain_search_finds(
    before: list[str], unit: list[str], copies: int, after: list[str]
) -> None:
    """The oracle tries every start and every unit."""
    words = [*before, *unit * copies, *after]
    found = find_loop(" ".join(words))
    expected = False
    for start in range(len(words)):
        for size in range(1, LONGEST_UNIT + 1):
            times = max(LEAST_COPIES, -(-LEAST_WORDS // size))
            piece = words[start : start + size]
            whole = piece * times
            expected |= len(piece) == size and words[start : start + len(whole)] == whole
    assert (found is not None) == expected
    if found is not None:
        assert " ".join([found.unit] * found.copies) in " ".join(words)
