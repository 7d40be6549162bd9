"""Batches of packed images for the language model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lab.rendering.picture import Picture
from lab.training.config import TrainingConfig
from lab.training.data.shards import finished_shards, kind_of, open_shard
from lab.training.language.packing import PackedImage, pack, visual_order
from lab.training.language.texts import TextMaker

__all__ = ["TEXT_ROOM", "LanguageBatch", "PictureRows", "PictureTable", "build_batch", "stacked"]

_K = TypeVar("_K")
_V = TypeVar("_V")

TEXT_ROOM = 304
# Visual tokens of the largest canvas with 2, 3 and 4 sub-images: one shape each to compile.
_IMAGE_ROOM = {2: 456, 3: 612, 4: 744}
_GROUP_SHARES = {2: 0.3, 3: 0.4, 4: 0.3}
# Scenes have six of the eight tasks.
_KIND_SHARES = {"scene": 0.7, "form": 0.17, "chart": 0.13}


class LanguageBatch(NamedTuple):
    """The columns of :class:`PackedImage` stacked, `[B, L]` or `[B, T]`, and more.

    Attributes:
        positions: of decoders with three for each place, `[B, 3, L]`.
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

    def position_ids(self) -> Tensor:
        """As decoders take them, `[B, L]` or `[3, B, L]`."""
        return self.positions if self.positions.ndim == 2 else self.positions.transpose(0, 1)

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
    return stacked(sequences, maker.head, places)


def stacked(
    sequences: Sequence[PackedImage], head: list[int], places: Sequence[npt.NDArray[np.int64]]
) -> LanguageBatch:
    """Sequences of the same rooms as one batch; `places` are those of `TextMaker.places`."""
    visual, blocks, positions, ids, labels = (
        torch.from_numpy(np.stack(column)) for column in zip(*sequences, strict=True)
    )
    named = torch.from_numpy(np.stack(places))
    return LanguageBatch(visual, blocks, positions, ids, labels, torch.tensor(head), named)
