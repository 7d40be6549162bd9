"""Batches of packed images for the language model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
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
from lab.training.config import TrainingConfig
from lab.training.data.lessons import ask_order, ask_place
from lab.training.data.shards import finished_shards, kind_of, open_shard
from lab.training.language.packing import (
    NO_LABEL,
    PackedImage,
    TextTokens,
    pack,
    patch_at,
    visual_order,
)
from lab.training.tokenizer import EOS, prompt

__all__ = ["TEXT_ROOM", "LanguageBatch", "PictureRows", "PictureTable", "TextMaker", "build_batch"]

_K = TypeVar("_K")
_V = TypeVar("_V")

TEXT_ROOM = 304
# Visual tokens of the largest canvas with 2, 3 and 4 sub-images: one shape each to compile.
_IMAGE_ROOM = {2: 456, 3: 612, 4: 744}
_GROUP_SHARES = {2: 0.3, 3: 0.4, 4: 0.3}
# Scenes have six of the eight tasks.
_KIND_SHARES = {"scene": 0.7, "form": 0.17, "chart": 0.13}
# How often a picture is also captioned: a caption takes the room of several questions.
_CAPTION_SHARES = {"scene": 0.6, "form": 0.3, "chart": 0.3}
# What is asked about training pictures of a kind, and how often it is tried; repeated questions
# are dropped. Of the spatial questions, comparing two places takes the most practice.
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


class LanguageBatch(NamedTuple):
    """The columns of :class:`PackedImage` stacked, `[B, L]` or `[B, T]`, and more.

    Attributes:
        head: ids before the image, `[head]`.
        places: column and row of the object that a text has just named, `[B, T, 2]`; elsewhere
            `NO_LABEL`.
    """

    visual: Tensor
    blocks: Tensor
    positions: Tensor
    ids: Tensor
    labels: Tensor
    head: Tensor
    places: Tensor

    def to(self, device: torch.device) -> LanguageBatch:
        """The same batch on a device."""
        return LanguageBatch(*(column.to(device) for column in self))

    def mask(self) -> Tensor:
        """`[B, 1, T, L]` bool: a text sees the image and itself, everything only backwards."""
        num_text, length = self.ids.shape[1], self.blocks.shape[1]
        query, key = self.blocks[:, -num_text:, None], self.blocks[:, None, :]
        causal = self.blocks.new_ones((length, length), dtype=torch.bool).tril()[-num_text:]
        return (((key == 0) | (key == query)) & causal)[:, None]


class PictureRows(NamedTuple):
    """The shard of a picture, its row there, and where its partitions lie."""

    shard: int
    row: int
    start: int
    end: int


class PictureTable:
    """Rendered pictures by their number of sub-images and kind, with their partitions."""

    def __init__(self, config: TrainingConfig) -> None:
        self._shards = {index: open_shard(config, index) for index in finished_shards(config)}
        self._groups: dict[int, dict[str, list[PictureRows]]] = {}
        for index, shard in self._shards.items():
            for row, (start, end) in enumerate(itertools.pairwise(shard.starts.tolist())):
                group = self._groups.setdefault(end - start - 1, {})
                kind = kind_of(shard.first_seed + row)
                group.setdefault(kind, []).append(PictureRows(index, row, start, end))

    def draw(self, rng: np.random.Generator, size: int) -> list[PictureRows]:
        """`size` random pictures of one group; small images, which cost less, more often."""
        group = _choose(rng, self._groups, _GROUP_SHARES)
        kinds = [_choose(rng, group, _KIND_SHARES) for _ in range(size)]
        return [pictures[rng.integers(len(pictures))] for pictures in kinds]

    def picture(self, rows: PictureRows) -> Picture:
        """What a picture shows."""
        return self._shards[rows.shard].picture(rows.row)

    def pixels(self, pictures: Sequence[PictureRows]) -> Tensor:
        """`[B * P, 3, S, S]` uint8 partitions of pictures of one group."""
        pixels = [self._shards[item.shard].pixels[item.start : item.end] for item in pictures]
        return torch.from_numpy(np.concatenate(pixels))


class TextMaker:
    """Tokenised texts of pictures: at times the caption, then questions in random order."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        head = prompt("").split("<image>")[0]
        self.head: list[int] = tokenizer(head, add_special_tokens=False)["input_ids"]

    def texts(self, picture: Picture, rng: np.random.Generator) -> list[TextTokens]:
        """Now and then the caption, then all questions, with the one for the sign first."""
        pairs = _questions(picture, rng)
        if rng.random() < _CAPTION_SHARES[picture.kind]:
            text = CAPTION_PROMPTS[0] if rng.random() < 0.7 else str(rng.choice(CAPTION_PROMPTS))
            pairs.insert(0, (text, caption(picture)))
        return [self.encode(text, answer) for text, answer in pairs]

    def places(self, picture: Picture, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """`[T, 2]`: after the name of an object in `ids`, `[T]`, the column and row of its centre.

        What a question needs must be looked up before the answer begins.
        """
        places = np.full((len(ids), 2), NO_LABEL, dtype=np.int64)
        for item in picture.objects:
            name = self._ids(f" {class_name(item.class_id)}")
            centre = patch_at(picture.width, picture.height, item.x, item.y)
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


def _questions(picture: Picture, rng: np.random.Generator) -> list[tuple[str, str]]:
    """(question, answer), each question once."""
    found: dict[str, Asked] = {}
    for ask, times in _ASKED[picture.kind]:
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


def _choose(rng: np.random.Generator, values: Mapping[_K, _V], shares: Mapping[_K, float]) -> _V:
    """One of `values`, by the shares of the keys that are there."""
    weights = np.array([shares[key] for key in values])
    return list(values.values())[rng.choice(len(weights), p=weights / weights.sum())]


def build_batch(
    table: PictureTable, pictures: list[PictureRows], maker: TextMaker, rng: np.random.Generator
) -> LanguageBatch:
    """The batch of pictures with the same number of sub-images."""
    num_sub_images = pictures[0].end - pictures[0].start - 1
    sequences: list[PackedImage] = []
    places: list[npt.NDArray[np.int64]] = []
    for item in pictures:
        picture = table.picture(item)
        order = visual_order(picture.width, picture.height)
        texts = maker.texts(picture, rng)
        sequences.append(
            pack(order, len(maker.head), _IMAGE_ROOM[num_sub_images], texts, TEXT_ROOM)
        )
        places.append(maker.places(picture, sequences[-1].ids))
    visual, blocks, positions, ids, labels = (
        torch.from_numpy(np.stack(column)) for column in zip(*sequences, strict=True)
    )
    head, named = torch.tensor(maker.head), torch.from_numpy(np.stack(places))
    return LanguageBatch(visual, blocks, positions, ids, labels, head, named)
