"""Names in ids: most as they are, the others with a way back, and no two alike."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.keys import encode_unsafe
from pipeline.sources.paths.spelling import meant, spelled


@pytest.mark.parametrize(
    "name",
    [
        *(
            "a::b.jpg",
            "a#b.jpg",
            "100%.jpg",
            "a%20b.jpg",
            "%C3%A9.jpg",
            "a?b*[c].jpg",
            "é 日本.jpg",
        ),
        *("[D_DATA]/x.jpg", "a..b.jpg", "a%2E.jpg", "a\\b.jpg", "' \".jpg", "x" * 251 + ".jpg"),
    ],
)
def test_most_names_stay_as_they_are(name: str) -> None:
    assert spelled(name) == name == meant(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a\nb.jpg", "a%0Ab.jpg"),
        ("a%0Ab.jpg", "a%250Ab.jpg"),
        ("a%250Ab.jpg", "a%25250Ab.jpg"),
        ("50%\n.jpg", "50%25%0A.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf%E9.jpg"),
        ("caf%E9.jpg", "caf%25E9.jpg"),
        ("x.tar#1.jpg", "x.tar%231.jpg"),
        ("a\u2028b.jpg", "a%E2%80%A8b.jpg"),
        ("\\x.jpg", "%5Cx.jpg"),
    ],
)
def test_what_ids_cannot_hold_is_encoded(name: str, text: str) -> None:
    assert (spelled(name), meant(text)) == (text, name)


def _is_a_name(name: str) -> bool:
    """Whether a disk can have it: any bytes but NUL."""
    return "\0" not in name and os.fsdecode(os.fsencode(name)) == name


LIKELY = st.sampled_from(["%", "25", "0A", "\n", "\udcff", "é", "%E9", "#", ".tar#", "a", "%2E"])


@given(st.one_of(st.binary(max_size=12).map(os.fsdecode), st.lists(LIKELY).map("".join)))
def test_there_is_a_way_back_from_every_name(name: str) -> None:
    text = spelled(name)
    assert meant(text) == name
    assert encode_unsafe(text) == text == text.encode().decode()
