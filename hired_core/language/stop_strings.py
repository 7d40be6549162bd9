"""Texts that end a text: after which token, and what is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

__all__ = ["StopStrings"]

_BASE: Final = "abcdef"
"""Stands before the tokens: some tokenizers drop the blank that a text begins with."""


class StopStrings:
    """Stops behind the first token with which one of `strings` is there, as transformers does.

    Tokens are looked at as they are spelt in the vocabulary, special ones too; the string may end
    within the token. What came with the prompt is not looked at.

    Args:
        tokenizer: transformers' own.
        strings: at least one, none of them empty.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._strings = tuple(strings)
        self._base = tokenizer.tokenize(_BASE, add_special_tokens=False)

    def end(self, ids: Sequence[int]) -> int | None:
        """How many of `ids` a text has whose last one completes a string; None if none does."""
        # An output layer may have more ids than the tokenizer has words: those have no spelling.
        words = [word or "" for word in self._tokenizer.convert_ids_to_tokens(list(ids))]
        if not self._in(words):
            return None
        low, high = 1, len(words)  # A string that is there stays there.
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._in(words[:middle]) else (middle + 1, high)
        return low

    def cut(self, text: str) -> str:
        """What stands before the first string; all of it if there is none."""
        found = [at for string in self._strings if (at := text.find(string)) >= 0]
        return text[: min(found)] if found else text

    def _in(self, words: Sequence[str]) -> bool:
        spelt = self._tokenizer.convert_tokens_to_string([*self._base, *words])
        _, found, rest = spelt.partition(_BASE)
        text = rest if found else spelt  # Some spell the base otherwise.
        return any(string in text for string in self._strings)
