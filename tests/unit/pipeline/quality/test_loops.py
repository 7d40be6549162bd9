"""Loops: found where words repeat at once, and not where a text merely says a word again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality.checker import TextChecker
from pipeline.quality.criteria import QualityConfig
from pipeline.quality.loops import (
    LEAST_CHARS_AT_END,
    LEAST_COPIES,
    LEAST_WORDS,
    LONGEST_UNIT,
    Loop,
    find_loop,
    find_loop_at_end,
)


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


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("A dog!" + "!" * 40, Loop("!", 41, 5)),
        ("It costs $1" + "0" * 60, Loop("0", 60, 11)),
        ("Name: " + "_" * 64 + "\n", Loop("_", 64, 6)),
        ("😀" * 33, Loop("😀", 33, 0)),
        ("Smile: " + "😀🐕" * 20 + "😀", Loop("😀🐕", 20, 7)),
        ("ภาพนี้แสดงแมว" * 5 + "ภาพ", Loop("ภาพนี้แสดงแมว", 5, 0)),
        ("So. " + "abcdefgh ij" * 3 + "abcdefgh ij ab", None),
        ("- x\n- y\n" * 8, Loop("- x\n- y\n", 7, 0)),
        ("| " * 40, Loop("| ", 39, 0)),
        ("Name: " + "_" * 31, None),
        ("one two three, " * 3 + "one two", None),
        ("ended. " + "x y z w " * 8 + "and then went on", None),
        ("", None),
    ],
)
def test_a_text_that_was_cut_while_it_repeated(text: str, loop: Loop | None) -> None:
    assert find_loop_at_end(text) == loop


def test_long_units_are_found_at_the_end() -> None:
    unit = " ".join(f"word{i}" for i in range(60)) + ". "
    text = "It began well. " + unit * 4 + unit[:100]
    assert find_loop(text) is None
    found = find_loop_at_end(text)
    assert found is not None and (len(found.unit), found.copies, found.start) == (len(unit), 4, 13)


@given(st.text("ab", max_size=60), st.text("abc", min_size=1, max_size=9), st.integers(0, 40))
def test_the_end_is_what_a_plain_search_finds(before: str, unit: str, copies: int) -> None:
    """The oracle tries every period of every ending, the longest first."""
    text = before + unit * copies
    expected = None
    for start in range(len(text)):
        end = text[start:]
        periods = (p for p in range(1, len(end) + 1) if end[p:] == end[:-p])
        period = next(periods)
        if len(end) >= max(LEAST_CHARS_AT_END, LEAST_COPIES * period):
            expected = Loop(end[:period], len(end) // period, start)
            break
    assert find_loop_at_end(text) == expected


def test_only_what_was_cut_is_asked_for_its_end() -> None:
    checker = TextChecker(QualityConfig())
    text = "Sign here: " + "_" * 80
    assert "loop" not in checker.flags(text, "p", "stop")
    assert checker.flags(text, "p", "length")["loop"] == "'_' 80 times from character 11"


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
