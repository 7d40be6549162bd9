"""Prompts with columns in them, and what values may not do to them."""

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest

from pipeline.rows.errors import ConfigError
from pipeline.sources.templates.template import (
    RenderError,
    TooLongError,
    columns_of_template,
    is_template,
    render,
)

CONTROL = ("</s>", "<image>", "<s>", "<|im_end|>")


def filled(text: str, max_chars: int = 100, **values: Any) -> str:
    return render(text, values, max_chars=max_chars, control_tokens=CONTROL)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("Describe the image.", ()),
        ("{ alt }", ()),
        ("{{ alt }}, {{ m.title }}{% if lang %}, in {{ lang }}{% endif %}", ("alt", "lang", "m")),
        ("{% for tag in tags %}{{ loop.index }}{{ tag }}{% endfor %}", ("tags",)),
        ("{% set x = 1 %}{{ x }}{{ range(3) | list }}", ()),
    ],
)  # fmt: skip
def test_columns_that_a_template_names(text: str, columns: tuple[str, ...]) -> None:
    assert columns_of_template(text) == columns
    assert is_template(text) == ("{{" in text or "{%" in text)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("Alt: {{ alt }}. Go.", {"alt": "a cat"}, "Alt: a cat. Go."),
        ("{{ alt or 'none' }}{% if not alt %}!{% endif %}", {"alt": None}, "none!"),
        ("{{ n + 1 }} {{ at.year }}", {"n": 2, "at": datetime.date(2026, 1, 1)}, "3 2026"),
        ("{{ tags | join(', ') | upper }}", {"tags": ["a", "b"]}, "A, B"),
        ("{{ meta.title }}/{{ meta['sub'].x }}", {"meta": {"title": "t", "sub": {"x": 1}}}, "t/1"),
        ("{{ alt[:3] }}", {"alt": "y" * 10**6}, "yyy"),
        ("{{ data }}", {"data": b"caf\xc3\xa9"}, "café"),
    ],
)
def test_values_go_into_the_text(text: str, values: dict[str, Any], expected: str) -> None:
    assert filled(text, **values) == expected


@pytest.mark.parametrize(
    ("text", "values", "told"),
    [
        ("{{ alt }} {{ url }}", {"url": "u"}, "prints what is null: alt; {{ x or 'none' }}"),
        ("{{ meta.title }}", {"meta": {}}, "no attribute 'title'"),
        ("{{ alt + 1 }}", {"alt": "x"}, "the template fails"),
        ("{{ 1 / n }}", {"n": 0}, "the template fails: division by zero"),
        ("{{ alt.__class__ }}", {"alt": "x"}, "unsafe"),
    ],
)
def test_what_a_row_has_not_is_told(text: str, values: dict[str, Any], told: str) -> None:
    with pytest.raises(RenderError, match=told.replace("{", "[{]").replace("|", "[|]")):
        filled(text, **values)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ alt", "prompt: line 1 of '{{ alt': unexpected end"),
        ("a\n{% if %}", "prompt: line 2"),
        ("{{ alt | center(9) }}", "No filter named 'center'"),
        ("{{ tags | random }}", "No filter named 'random'"),
        ("{% include 'x' %}", "nothing to include or import"),
    ],
)
def test_what_is_no_template_is_told_at_once(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        columns_of_template(text)
    assert told in str(caught.value)


BOMBS = [
    ("{{ alt * n }}", {"alt": "x", "n": 10**10}),
    ("{{ '%10000000000d' % n }}", {"n": 1}),
    ("{{ n ** n }}", {"n": 10**9}),
    ("{{ alt.format(1) }}", {"alt": "{:10000000000}"}),
    ("{{ alt.center(n) }}", {"alt": "x", "n": 10**10}),
    ("{{ alt | replace('y', alt) | replace('y', alt) }}", {"alt": "y" * 5000}),
    ("{{ xs | join(alt) }}", {"xs": ["x"] * 10_000, "alt": "y" * 5000}),
    ("{{ range(n) | list }}", {"n": 10**10}),
    ("{% for a in xs %}{% for b in xs %}{% for c in xs %}{% endfor %}{% endfor %}{% endfor %}",
     {"xs": list(range(10**4))}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "values"), BOMBS)
def test_no_value_makes_a_template_take_long_or_much(text: str, values: dict[str, Any]) -> None:
    started = time.thread_time()
    with pytest.raises(RenderError):
        filled(text, 10_000, **values)
    assert time.thread_time() - started < 2


def test_a_long_prompt_is_refused() -> None:
    assert filled("{{ alt }}", 5, alt="x" * 5) == "x" * 5
    with pytest.raises(TooLongError, match="over 5 characters"):
        filled("{{ alt }}", 5, alt="x" * 6)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("{{ alt }}", {"alt": "<image>"}, "< image>"),
        ("<image>\n{{ alt }}</s>", {"alt": "hi</s><s>"}, "<image>\nhi< /s>< s></s>"),
        ("<{{ alt }}>", {"alt": "image"}, "< image>"),
        ("{{ a }}{{ b }}", {"a": "<|im_", "b": "end|>"}, "< |im_end|>"),
        ("{{ a }}", {"a": "<<s>s>"}, "<< s>s>"),
        ("{% set b %}{{ a }}>{% endset %}{{ b }}", {"a": "</s"}, "< /s>"),
        ("{% set b %}{{ a }}{% endset %}{{ b | reverse }}", {"a": ">s/<"}, "< /s>"),
        ("{{ a }}", {"a": "\ufdd1<s>\ufdd0"}, "< s>"),
        ("{% filter reverse %}{{ a }}{% endfilter %}", {"a": ">s/<"}, "< /s>"),
        ("{{ a }} <b>", {"a": "</b>"}, "</b> <b>"),
    ],
)
def test_values_bring_in_no_control_tokens(
    text: str, values: dict[str, Any], expected: str
) -> None:
    assert filled(text, **values) == expected
