"""Texts of training pictures: what is asked about each kind, tokenised.

What a family's tower can show decides which lessons it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerFast

from lab.rendering.picture import Picture, class_name
from lab.rendering.tasks import (
    CAPTION_PROMPTS,
    SPATIAL_KINDS,
    TASKS,
    Ask,
    Asked,
    caption,
)
from lab.training.data.lessons import ask_order, ask_place
from lab.training.language.packing import NO_LABEL, TextTokens, patch_at
from lab.training.tokenizer import EOS, prompt

__all__ = ["LESSONS", "Lessons", "TextMaker"]

# How often a picture is also captioned: a caption takes the room of several questions.
_CAPTION_SHARES = {"scene": 0.6, "form": 0.3, "chart": 0.3}
# Of the spatial questions, comparing two places takes the most practice.
_ASKED: dict[str, tuple[tuple[Ask, int], ...]] = {
    "scene": (
        (TASKS["scene_text"].ask, 1),
        (TASKS["attribute"].ask, 1),
        (TASKS["existence"].ask, 1),
        (TASKS["count"].ask, 2),
        (SPATIAL_KINDS["relation"], 8),
        (SPATIAL_KINDS["nearest"], 6),
        (SPATIAL_KINDS["quarter"], 1),
        (ask_place, 2),
        (ask_order, 1),
    ),
    "form": ((TASKS["document"].ask, 16),),
    "chart": ((TASKS["chart"].ask, 16),),
}


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What is asked about training pictures of each kind.

    Attributes:
        asked: questions, and how often each is tried; repeated ones are dropped.
        caption_shares: how often a picture is also captioned.
        caption: of a picture; None where it has none.
        place: column and row, among visual tokens or patches, of a place on a picture's content.
    """

    asked: Mapping[str, tuple[tuple[Ask, int], ...]]
    caption_shares: Mapping[str, float]
    caption: Callable[[Picture], str | None] = caption
    place: Callable[[Picture, float, float], tuple[int, int]]


def _patch(picture: Picture, x: float, y: float) -> tuple[int, int]:
    return patch_at(picture.width, picture.height, x, y)


LESSONS: Final = Lessons(asked=_ASKED, caption_shares=_CAPTION_SHARES, place=_patch)
"""Of the embedded model."""


class TextMaker:
    """Tokenised texts of pictures: at times the caption, then questions in random order."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, lessons: Lessons = LESSONS) -> None:
        self._tokenizer, self._lessons = tokenizer, lessons
        head = prompt("").split("<image>")[0]
        self.head: list[int] = tokenizer(head, add_special_tokens=False)["input_ids"]

    def texts(self, picture: Picture, rng: np.random.Generator) -> list[TextTokens]:
        """Now and then the caption, then all questions, with the one for the sign first."""
        pairs = _questions(picture, rng, self._lessons.asked[picture.kind])
        said = self._lessons.caption(picture)
        if said is not None and rng.random() < self._lessons.caption_shares[picture.kind]:
            text = CAPTION_PROMPTS[0] if rng.random() < 0.7 else str(rng.choice(CAPTION_PROMPTS))
            pairs.insert(0, (text, said))
        return [self.encode(text, answer) for text, answer in pairs]

    def places(self, picture: Picture, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`[T, 2]`: after the name of an object in `ids`, `[T]`, the column and row of its centre.

        What a question needs must be looked up before the answer begins.
        """
        places = np.full((len(ids), 2), NO_LABEL, dtype=np.int64)
        for item in picture.objects:
            name = self._ids(f" {class_name(item.class_id)}")
            centre = self._lessons.place(picture, item.x, item.y)
            for start in _found(name, ids):
                places[start + len(name) - 1] = centre
        return places

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def encode(self, text: str, answer: str) -> TextTokens:
        """What follows the image in a prompt with its answer, and the end of the answer."""
        tail = prompt(text).split("<image>")[1]
        ids, answer_ids = self._tokenizer([tail, f" {answer}{EOS}"], add_special_tokens=False)[
            "input_ids"
        ]
        return TextTokens(ids + answer_ids, len(answer_ids))


def _questions(
    picture: Picture, rng: np.random.Generator, asked_of: tuple[tuple[Ask, int], ...]
) -> list[tuple[str, str]]:
    """(question, answer), each question once."""
    found: dict[str, Asked] = {}
    for ask, times in asked_of:
        for _ in range(times):
            if (asked := ask(picture, rng)) is not None:
                found.setdefault(asked.text, asked)
    signs = [(text, asked.answer) for text, asked in found.items() if asked.kind == "sign"]
    others = [(text, asked.answer) for text, asked in found.items() if asked.kind != "sign"]
    return signs + [others[i] for i in rng.permutation(len(others))]


def _found(needle: list[int], ids: npt.NDArray[np.int64]) -> list[int]:
    """Where `needle` begins in `ids`."""
    windows = np.lib.stride_tricks.sliding_window_view(ids, len(needle))
    found: list[int] = np.flatnonzero((windows == needle).all(axis=1)).tolist()
    return found
