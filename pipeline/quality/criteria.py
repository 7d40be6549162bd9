"""What is looked for in texts, and which of it keeps a text out of the captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hired_core.errors import SettingError, require
from pipeline.quality.languages import LANGUAGES

__all__ = ["FLAGS", "QualityConfig"]

FLAGS: Final[dict[str, str]] = {
    "empty": "there is no letter and no digit in it",
    "truncated": "it was cut at --max-new-tokens",
    "loop": "words repeat at once: 4 times or more, 8 words or more in all; or it was cut while "
    "anything repeated: 4 times, 32 characters",
    "refused": "it begins by saying that the model cannot, in English",
    "echo": "the prompt is in it, word for word, if that has 3 words or more",
    "short": "fewer words than --min-words",
    "long": "more words than --max-words",
    "language": "it is in another language than --language",
}
"""By name, in the order in which a caption lists them. Names are never changed."""


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """Quality"""

    reject: tuple[str, ...] = ()
    """Captions with one of these flags go to quarantine. Any of empty, truncated, loop, refused,
    echo, short, long, language; with commas or blanks between them. Their code there is
    caption_rejected."""
    min_words: int | None = None
    """Captions with fewer words are flagged as short."""
    max_words: int | None = None
    """Captions with more words are flagged as long."""
    language: str | None = None
    """Captions in another language than this are flagged. A code as en, de, ja; texts that are too
    short to tell are left alone."""

    def __post_init__(self) -> None:
        for flag in self.rejected:
            if flag not in FLAGS:
                raise SettingError(f"reject: {flag!r} is no flag; allowed: {', '.join(FLAGS)}")
        least, most, language = self.min_words, self.max_words, self.language
        require(least is None or least > 0, "min_words", least, "1 or more")
        ok = most is None or most >= (least or 0)
        require(ok, "max_words", most, f"{least or 0} or more")
        require(language is None or language in LANGUAGES, "language", language, _KNOWN)

    @property
    def rejected(self) -> frozenset[str]:
        names = (name.strip() for words in self.reject for name in words.split(","))
        return frozenset(name for name in names if name)


_KNOWN: Final = f"one of {', '.join(LANGUAGES)}"
