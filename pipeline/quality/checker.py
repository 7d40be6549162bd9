"""All rules in turn."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.quality.criteria import FLAGS, QualityConfig
from pipeline.quality.languages import LanguageTeller
from pipeline.quality.loops import find_loop, find_loop_at_end
from pipeline.quality.phrases import find_refusal, repeats_prompt, words_of

__all__ = ["TextChecker"]


class TextChecker:
    """Told once what to look for; the model of languages is loaded only if one is asked for."""

    def __init__(self, config: QualityConfig) -> None:
        self._config = config
        self._teller = LanguageTeller() if config.language is not None else None

    def flags(self, text: str, prompt: str, finish_reason: str) -> dict[str, str]:
        """The flags of a text in the order of `FLAGS`, each with what was found."""
        found = dict(self._found(text, prompt, finish_reason))
        return {flag: found[flag] for flag in FLAGS if flag in found}

    def rejected(self, flags: dict[str, str]) -> str | None:
        """Why the text is not to be a caption; None if it is."""
        reasons = [f"{name} ({what})" for name, what in flags.items()]
        is_bad = not self._config.rejected.isdisjoint(flags)
        return "; ".join(reasons) if is_bad else None

    def _found(self, text: str, prompt: str, finish_reason: str) -> Iterator[tuple[str, str]]:
        is_cut = finish_reason == "length"
        if not any(sign.isalnum() for sign in text):
            yield "empty", f"{len(text)} characters"
        if is_cut:
            yield "truncated", "at --max-new-tokens"
        if (loop := find_loop(text) or (find_loop_at_end(text) if is_cut else None)) is not None:
            yield "loop", f"{loop.unit[:40]!r} {loop.copies} times from character {loop.start}"
        if (refusal := find_refusal(text)) is not None:
            yield "refused", repr(refusal[:60])
        if repeats_prompt(text, prompt):
            yield "echo", "the prompt is in it"
        yield from self._lengths(text)
        if self._teller is not None and self._config.language is not None:
            other = self._teller.other_than(self._config.language, text)
            if other is not None:
                yield "language", other

    def _lengths(self, text: str) -> Iterator[tuple[str, str]]:
        least, most = self._config.min_words, self._config.max_words
        if least is None and most is None:
            return
        count = len(words_of(text))
        if least is not None and count < least:
            yield "short", f"{count} words"
        if most is not None and count > most:
            yield "long", f"{count} words"
