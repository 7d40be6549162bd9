"""Texts that say no, and texts that say what they were asked."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["WITHOUT_BLANKS", "find_refusal", "repeats_prompt", "words_of"]

WITHOUT_BLANKS: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Signs of scripts that set no blanks between words: each counts as one."""

_WORD: Final = re.compile(rf"[{WITHOUT_BLANKS}]|[^\W{WITHOUT_BLANKS}]+")

LEAST_PROMPT_WORDS: Final = 3

_CANNOT: Final = (
    r"(?:cannot|can ?not|can['\u2019]t|could not|couldn['\u2019]t|won['\u2019]t|will not"
    r"|am unable to|['\u2019]m unable to|am not able to|['\u2019]m not able to)"
)
_DO: Final = (
    r"(?:answer|assist|comment|comply|describe|determine|discuss|display|engage|fulfill|generate"
    r"|help(?! but)|identify|interpret|make out|process|provide|read|recogni[sz]e|see|tell|view)"
)
_SORRY: Final = r"(?:(?:i['\u2019]m|i am)?\s*(?:very |so )?sorry|i apologi[sz]e|unfortunately)"
_REFUSAL: Final = re.compile(
    rf"\W*(?:{_SORRY}\W+(?:but\W+)?)?i\s*{_CANNOT}\s+(?:\w+\s+)?{_DO}\b"
    rf"|\W*(?:{_SORRY}\W+(?:but\W+)?)?as an ai\b"
    rf"|\W*{_SORRY},? but i\b",
    re.IGNORECASE,
)


def find_refusal(text: str) -> str | None:
    """The words by which the text begins to say that the model cannot; None if it does not.

    A sign that reads "Sorry, we are closed" is none, nor is a text that says so later on.
    """
    found = _REFUSAL.match(text)
    return found[0].strip() if found else None


def repeats_prompt(text: str, prompt: str) -> bool:
    """Whether all words of the prompt stand in the text, one after another."""
    asked = words_of(prompt)
    if len(asked) < LEAST_PROMPT_WORDS:
        return False
    return f" {' '.join(asked)} " in f" {' '.join(words_of(text))} "


def words_of(text: str) -> list[str]:
    """In lower case, without what stands between them."""
    return _WORD.findall(text.casefold())
