"""Prompts with and without names."""

from __future__ import annotations

from typing import Any

import pytest

from hired_core.errors import SettingError
from pipeline.settings.prompts import NamedPrompt, named_prompts


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("What is it?", [(None, "What is it?")]),
        ("short=One line.", [("short", "One line.")]),
        (["a=x=1", "b_2={{ alt }}"], [("a", "x=1"), ("b_2", "{{ alt }}")]),
        ({"a": "b=c"}, [("a", "b=c")]),
        ("is x = 1?", [(None, "is x = 1?")]),
        ("2=x", [(None, "2=x")]),
        (" x=1", [(None, " x=1")]),
    ],
)
def test_prompts(given: Any, found: list[tuple[str | None, str]]) -> None:
    assert named_prompts(given) == tuple(NamedPrompt(name=n, text=t) for n, t in found)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["a=x", "plain"], "each needs a name"),
        (["a=x", "a=y"], "'a' is there twice"),
        (" ", "not blank"),
        ("a= ", "not blank"),
        ([], "not blank"),
        ({"a": 5}, "not blank"),
        ({"a b": "x"}, "as a name letters"),
        ("q1=x", "not q0, q1"),
    ],
)
def test_mistakes_are_told(given: Any, told: str) -> None:
    with pytest.raises(SettingError, match=told):
        named_prompts(given)
