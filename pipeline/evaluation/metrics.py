"""What a caption says, and how right it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.evaluation.scenes import COLOURS, SHAPES, Scene

__all__ = ["CaptionContent", "SetScore", "character_matches", "content_of", "parse_caption", "pool"]

_OBJECT = re.compile(rf"\b({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b", re.IGNORECASE)
_SIGN = re.compile(r"\bsign that says ([A-Z0-9]+)")


@dataclass(frozen=True, kw_only=True)
class CaptionContent:
    """Coloured shapes as (colour, shape), and sign texts in their order."""

    objects: frozenset[tuple[str, str]]
    signs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """Counts of a set prediction; they add up over captions."""

    num_right: int = 0
    num_predicted: int = 0
    num_true: int = 0

    @classmethod
    def of(
        cls, predicted: frozenset[tuple[str, str]], true: frozenset[tuple[str, str]]
    ) -> SetScore:
        """The counts of one caption."""
        return cls(
            num_right=len(predicted & true), num_predicted=len(predicted), num_true=len(true)
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall in 0..1; 1.0 when both sets are empty."""
        total = self.num_predicted + self.num_true
        return 2 * self.num_right / total if total else 1.0


def parse_caption(text: str) -> CaptionContent:
    """The coloured shapes and signs a caption names, whatever stands between them."""
    objects = frozenset((colour.lower(), shape.lower()) for colour, shape in _OBJECT.findall(text))
    return CaptionContent(objects=objects, signs=tuple(_SIGN.findall(text)))


def content_of(scene: Scene) -> CaptionContent:
    """What a right caption of a scene names."""
    colours = tuple(COLOURS)
    objects = frozenset((colours[item.colour], SHAPES[item.shape]) for item in scene.objects)
    return CaptionContent(objects=objects, signs=tuple(sign.text for sign in scene.signs))


def pool(scores: Iterable[SetScore]) -> SetScore:
    """The sum of the counts: `pool(...).f1` is the micro-averaged F1."""
    items = list(scores)
    return SetScore(
        num_right=sum(item.num_right for item in items),
        num_predicted=sum(item.num_predicted for item in items),
        num_true=sum(item.num_true for item in items),
    )


def character_matches(predicted: Iterable[str], true: Iterable[str]) -> tuple[int, int]:
    """(characters right, characters asked for) of sign texts compared place by place.

    The n-th predicted sign answers the n-th true one. A missing sign has no right character, and
    characters beyond the end of the true text count for nothing.
    """
    true_texts = list(true)
    texts = [*predicted, *[""] * len(true_texts)]
    right = sum(
        said == meant
        for text, true_text in zip(texts, true_texts, strict=False)
        for said, meant in zip(text, true_text, strict=False)
    )
    return right, sum(len(text) for text in true_texts)
