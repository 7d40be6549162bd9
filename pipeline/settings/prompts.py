"""Prompts with and without names: `--prompt TEXT`, or `--prompt NAME=TEXT` once or more."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hired_core.errors import SettingError, require

__all__ = ["DEFAULT_PROMPT", "NamedPrompt", "named_prompts"]

DEFAULT_PROMPT: Final = "Describe the image."
_NAMED: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_OF_QUESTIONS: Final = re.compile(r"q\d+")


@dataclass(frozen=True, kw_only=True)
class NamedPrompt:
    """What is asked of every image.

    Attributes:
        name: what its rows are told apart by; None where it is the only prompt.
    """

    name: str | None
    text: str


def named_prompts(given: str | Sequence[str] | Mapping[str, str]) -> tuple[NamedPrompt, ...]:
    """The prompts, in their order.

    Args:
        given: one text, several `NAME=TEXT`, or a mapping.

    Raises:
        SettingError: if one is blank, or one of several has no name of its own.
    """
    if isinstance(given, Mapping):
        found = [NamedPrompt(name=name, text=text) for name, text in given.items()]
    else:
        found = [_read(text) for text in ([given] if isinstance(given, str) else given)]
    require(bool(found), "prompt", given, "a text that is not blank")
    for prompt in found:
        text = prompt.text
        require(
            isinstance(text, str) and bool(text.strip()), "prompt", text, "a text that is not blank"
        )
    _check_names([prompt.name for prompt in found])
    return tuple(found)


def _read(text: str) -> NamedPrompt:
    found = _NAMED.fullmatch(text)
    return NamedPrompt(name=found[1], text=found[2]) if found else NamedPrompt(name=None, text=text)


def _check_names(names: Sequence[str | None]) -> None:
    if len(names) > 1 and None in names:
        raise SettingError("prompt: of several, each needs a name: --prompt short='One line.'")
    for name in (name for name in names if name is not None):
        ok = _NAMED.fullmatch(f"{name}=") and not _OF_QUESTIONS.fullmatch(name)
        allowed = "letters, digits and _, no digit first, and not q0, q1, ..."
        require(bool(ok), "prompt", name, f"as a name {allowed}")
        if names.count(name) > 1:
            raise SettingError(f"prompt: {name!r} is there twice")
