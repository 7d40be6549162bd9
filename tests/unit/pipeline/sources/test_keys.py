"""Ids are unique within a shard, printable, and say what was wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.keys import UniqueKeys, encode_unsafe


@pytest.mark.parametrize(
    "key",
    ["0001", "a/b/0001", "./0001", "Straße ☂", "a..b", "..a/b..", "a\\b", "50%", "a b", "x#1", ""],
)
def test_safe_keys_stay_as_they_are(key: str) -> None:
    assert encode_unsafe(key) == key
    assert UniqueKeys("s.tar").enter(key) == (f"s.tar#{key}", key, None)


@pytest.mark.parametrize(
    ("key", "safe"),
    [
        ("/etc/passwd", "%2Fetc/passwd"),
        ("\\\\host\\share", "%5C\\host\\share"),
        ("C:\\x", "%43%3A%5Cx"),
        ("../x", "%2E%2E/x"),
        ("a/../../x", "a/%2E%2E/%2E%2E/x"),
        ("a\\..\\x", "a\\%2E%2E\\x"),
        ("a/..", "a/%2E%2E"),
        ("new\nline", "new%0Aline"),
        ("nul\0", "nul%00"),
        ("esc\x1b[2J", "esc%1B[2J"),
        ("\u0085\u2028", "%C2%85%E2%80%A8"),
        ("\udcff", "%FF"),
        ("\ud800", "%ED%A0%80"),
        ("a#q0", "a%23q0"),
    ],
)
def test_unsafe_keys_are_encoded(key: str, safe: str) -> None:
    image_id, printed, failure = UniqueKeys("s").enter(key)
    assert (image_id, printed) == (f"s#{safe}", safe)
    assert failure is not None
    assert failure.code == "key_unsafe"


def test_later_copies_get_numbers() -> None:
    keys_seen = UniqueKeys("s")
    entered = [keys_seen.enter(key) for key in ("a", "b", "a", "a", "b")]
    assert [image_id for image_id, _, _ in entered] == ["s#a", "s#b", "s#a~2", "s#a~3", "s#b~2"]
    assert [key for _, key, _ in entered] == ["a", "b", "a", "a", "b"]
    codes = [failure and failure.code for _, _, failure in entered]
    assert codes == [None, None, "key_duplicate", "key_duplicate", "key_duplicate"]


def test_numbers_step_over_keys_that_look_like_copies() -> None:
    keys_seen = UniqueKeys("s")
    entered = [keys_seen.enter(key)[0] for key in ("a", "a~2", "a", "a", "a~3")]
    assert entered == ["s#a", "s#a~2", "s#a~3", "s#a~4", "s#a~3~2"]


def test_many_copies_are_no_matter() -> None:
    keys_seen = UniqueKeys("s")
    last = [keys_seen.enter("a") for _ in range(20_000)][-1]
    assert last[0] == "s#a~20000"


@given(st.lists(st.text(alphabet="a~2#q0/.\n\udc80", max_size=5), max_size=30))
def test_ids_are_unique_and_encodable(keys: list[str]) -> None:
    keys_seen = UniqueKeys("s")
    ids = [keys_seen.enter(key)[0] for key in keys]
    assert len(set(ids)) == len(ids)
    assert all(image_id.encode() for image_id in ids)
    assert "\n" not in "".join(ids)
