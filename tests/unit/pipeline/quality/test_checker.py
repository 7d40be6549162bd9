"""Flags of a text, by examples of each; languages by the library's own model."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.quality.checker import TextChecker
from pipeline.quality.criteria import FLAGS, QualityConfig
from pipeline.quality.languages import LANGUAGES, LanguageTeller
from pipeline.quality.phrases import find_refusal, repeats_prompt

GOOD = "A brown dog runs along the beach, and a child in a red coat follows it."


def flags(text: str, prompt: str = "Describe it.", reason: str = "stop", **asked: Any) -> list[str]:
    return list(TextChecker(QualityConfig(**asked)).flags(text, prompt, reason))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GOOD, []),
        ("", ["empty"]),
        (" \n...!", ["empty"]),
        ("7", []),
        ("I'm sorry, but I cannot see the image.", ["refused"]),
        ("What is the total? The total is 33.", ["echo"]),
        ("no " * 9, ["loop"]),
    ],
)
def test_rules_that_always_hold(text: str, found: list[str]) -> None:
    assert flags(text, "What is the total?") == found
    assert flags(text, "What is the total?", "length") == [
        f for f in FLAGS if f in [*found, "truncated"]
    ]


@pytest.mark.parametrize(
    "text",
    [
        "I cannot identify the person in this image.",
        "I can't help with that.",
        "I\u2019m sorry, I can\u2019t describe this picture.",
        "Sorry, but I am not able to read the text.",
        "Unfortunately, I am unable to determine what is shown.",
        "As an AI language model, I have no eyes.",
        "I'm sorry, but as an AI I do not see.",
        '"I cannot really tell what it is."',
        "I apologize, but I won't provide a description.",
    ],
)
def test_refusals(text: str) -> None:
    assert find_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "Sorry, we are closed.",
        "A sign that says: I cannot see you.",
        "I can't help but notice a red car.",
        "I cannot believe it's not butter",
        "I can see a dog.",
        "Unfortunately closed today.",
        "Ai Weiwei's vases",
    ],
)
def test_what_is_no_refusal(text: str) -> None:
    assert find_refusal(text) is None


def test_an_echo_has_all_words_of_a_prompt_that_has_some() -> None:
    assert repeats_prompt("Sure! DESCRIBE the image: a cat", "Describe the image.")
    assert not repeats_prompt("The image describes a cat", "Describe the image.")
    assert not repeats_prompt("Describe the images", "Describe the image.")
    assert not repeats_prompt("What colour?", "What colour?")


def test_lengths_are_told_where_they_are_asked_for() -> None:
    assert flags("two words", min_words=3, max_words=9) == ["short"]
    assert flags("three of them", min_words=3, max_words=3) == []
    assert flags("four of them here", min_words=3, max_words=3) == ["long"]


def test_a_sign_of_a_script_without_blanks_is_a_word() -> None:
    text = "茶色の犬が海辺を走っている。"
    assert flags(text, min_words=5, max_words=20) == []
    assert flags(text, min_words=14) == ["short"] and flags(text, max_words=12) == ["long"]
    assert repeats_prompt("画像を説明してください。犬です。", "画像を説明してください。")


@pytest.fixture(scope="module")
def english() -> TextChecker:
    return TextChecker(QualityConfig(language="en"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (GOOD, {}),
        ("Ein brauner Hund läuft am Strand, und ein Kind folgt ihm.", {"language": "de"}),
        ("Un chien brun court le long de la plage avec un enfant.", {"language": "fr"}),
        ("写真には、海辺を走る茶色の犬と赤いコートを着た子供が写っています。", {"language": "ja"}),
        ("Hund", {}),
        ("33.20 EUR", {}),
    ],
)
def test_a_text_in_another_language_is_told_where_that_is_sure(
    english: TextChecker, text: str, found: dict[str, str]
) -> None:
    assert english.flags(text, "p", "stop") == found


def test_norwegian_is_one_language() -> None:
    text = "Ein brun hund spring langs stranda, og eit barn i raud frakk følgjer etter."
    teller = LanguageTeller()
    assert teller.other_than("en", text) == "nn" and teller.other_than("no", text) is None


def test_languages_that_can_be_asked_for_are_known_to_the_model() -> None:
    teller = LanguageTeller()
    assert len(set(LANGUAGES)) == len(LANGUAGES) > 70
    assert set(LANGUAGES) <= set(teller._model.labels)


def test_a_text_is_rejected_for_what_is_named_and_says_why() -> None:
    checker = TextChecker(QualityConfig(reject=("loop, empty", "echo")))
    found = checker.flags("no " * 9, "p", "length")
    assert checker.rejected(found) == (
        "truncated (at --max-new-tokens); loop ('no' 9 times from character 0)"
    )
    assert checker.rejected({"truncated": "x"}) is None and checker.rejected({}) is None
    assert TextChecker(QualityConfig()).rejected(found) is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"reject": ("loop,lop",)}, "reject: 'lop' is no flag; allowed: empty, truncated,"),
        ({"min_words": 0}, "min_words"),
        ({"min_words": 5, "max_words": 4}, "max_words"),
        ({"language": "klingon"}, "language"),
    ],
)
def test_what_is_no_setting_is_told(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}"):
        QualityConfig(**wrong)
