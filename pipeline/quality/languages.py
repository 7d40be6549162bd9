"""Which language a text is in, by py3langid: a small model that the package ships."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["LANGUAGES", "LanguageTeller"]

LANGUAGES: Final = (
    *("af", "am", "ar", "az", "be", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "es"),
    *("et", "eu", "fa", "fi", "fr", "ga", "gl", "gu", "he", "hi", "hr", "hu", "hy", "id", "is"),
    *("it", "ja", "ka", "kk", "km", "kn", "ko", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms"),
    *("my", "ne", "nl", "no", "pa", "pl", "pt", "ro", "ru", "si", "sk", "sl", "sq", "sr", "sv"),
    *("sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "uz", "vi", "zh"),
)
"""Those that can be asked for; the model knows more."""

_NORWEGIAN: Final = {"nb": "no", "nn": "no"}
"""The model tells its two written forms apart, or does not."""

LEAST_LETTERS: Final = 20
LEAST_CONFIDENCE: Final = 0.8
"""Below either, short captions in English are taken for something else now and then."""


class LanguageTeller:
    """Loads the model: a second of one core, and 70 MiB."""

    def __init__(self) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self._model: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def other_than(self, language: str, text: str) -> str | None:
        """The language that the text is in, if it is another; None if it is not, or hard to say."""
        if sum(sign.isalpha() for sign in text) < LEAST_LETTERS:
            return None
        found, confidence = self._model.classify(text)
        sure = confidence >= LEAST_CONFIDENCE and _NORWEGIAN.get(found, found) != language
        return str(found) if sure else None
