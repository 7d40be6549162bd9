"""Batches of packed images for the language model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from pipeline.evaluation.scenes import Scene, make_scene
from pipeline.evaluation.texts import CAPTION_PROMPTS, caption, questions
from pipeline.training.config import PATCHES_PER_PARTITION, TrainingConfig
from pipeline.training.packing import PackedImage, TextTokens, pack, visual_order
from pipeline.training.shards import finished_shards, open_shard
from pipeline.training.tokenizer import EOS, prompt

__all__ = ["TEXT_ROOM", "LanguageBatch", "SceneRows", "SceneTable", "TextMaker", "build_batch"]

TEXT_ROOM = 112
# Visual tokens of the largest canvas with 2, 3 and 4 sub-images: one shape each to compile.
_IMAGE_ROOM = {2: 208, 3: 280, 4: 336}
_GROUP_SHARES = {2: 0.45, 3: 0.3, 4: 0.25}


class LanguageBatch(NamedTuple):
    """`features [B, P * N, C]` float32, the columns of :class:`PackedImage` stacked, `head` ids."""

    features: Tensor
    visual: Tensor
    blocks: Tensor
    positions: Tensor
    ids: Tensor
    labels: Tensor
    head: Tensor

    def mask(self) -> Tensor:
        """`[B, 1, T, L]` bool: a text sees the image and itself, everything only backwards."""
        num_text, length = self.ids.shape[1], self.blocks.shape[1]
        query, key = self.blocks[:, -num_text:, None], self.blocks[:, None, :]
        causal = torch.ones(length, length, dtype=torch.bool).tril()[-num_text:]
        return (((key == 0) | (key == query)) & causal)[:, None]


class SceneRows(NamedTuple):
    """A scene's seed and where its partitions lie."""

    seed: int
    shard: int
    start: int
    end: int


class SceneTable:
    """Rendered scenes, grouped by their number of sub-images, with their features."""

    def __init__(self, config: TrainingConfig, tower: Callable[[Tensor], Tensor]) -> None:
        self._tower = tower
        self._shards = {index: open_shard(config, index) for index in finished_shards(config)}
        self.groups: dict[int, list[SceneRows]] = {size: [] for size in _GROUP_SHARES}
        for index, shard in self._shards.items():
            bounds = itertools.pairwise(shard.starts.tolist())
            for row, (start, end) in enumerate(bounds):
                scene = SceneRows(shard.first_seed + row, index, start, end)
                self.groups[end - start - 1].append(scene)

    def draw(self, rng: np.random.Generator, size: int) -> list[SceneRows]:
        """`size` random scenes of one group; small images, which cost less, more often."""
        chosen = self.groups[int(rng.choice(list(_GROUP_SHARES), p=list(_GROUP_SHARES.values())))]
        return [chosen[i] for i in rng.integers(len(chosen), size=size)]

    def features(self, scenes: Sequence[SceneRows]) -> Tensor:
        """`[B, P * N, C]` float32 features of scenes of one group."""
        pixels = [self._shards[scene.shard].pixels[scene.start : scene.end] for scene in scenes]
        features = self._tower(torch.from_numpy(np.concatenate(pixels)))
        return features.reshape(len(scenes), -1, features.shape[-1])


class TextMaker:
    """Tokenised texts of scenes: the caption and questions in random order."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        head = prompt("").split("<image>")[0]
        self.head: list[int] = tokenizer(head, add_special_tokens=False)["input_ids"]

    def texts(self, scene: Scene, rng: np.random.Generator) -> list[TextTokens]:
        """The caption, the sign question if there is one, then the others in random order."""
        first = CAPTION_PROMPTS[0] if rng.random() < 0.5 else str(rng.choice(CAPTION_PROMPTS))
        asked = questions(scene, rng)
        others = [question for question in asked if question.kind != "sign"]
        order = [others[i] for i in rng.permutation(len(others))]
        signs = [question for question in asked if question.kind == "sign"]
        pairs = [(question.text, question.answer) for question in signs + order]
        return [self.encode(text, answer) for text, answer in [(first, caption(scene)), *pairs]]

    def encode(self, text: str, answer: str) -> TextTokens:
        """What follows the image in a prompt with its answer, and the end of the answer."""
        tail = prompt(text).split("<image>")[1]
        ids, answer_ids = self._tokenizer([tail, f" {answer}{EOS}"], add_special_tokens=False)[
            "input_ids"
        ]
        return TextTokens(ids + answer_ids, len(answer_ids))


def build_batch(
    table: SceneTable, scenes: list[SceneRows], maker: TextMaker, rng: np.random.Generator
) -> LanguageBatch:
    """The batch of scenes with the same number of sub-images."""
    num_sub_images = scenes[0].end - scenes[0].start - 1
    sequences: list[PackedImage] = []
    for item in scenes:
        scene = make_scene(item.seed)
        order = visual_order(scene.width, scene.height)
        texts = maker.texts(scene, rng)
        sequences.append(
            pack(order, len(maker.head), _IMAGE_ROOM[num_sub_images], texts, TEXT_ROOM)
        )
    visual, blocks, positions, ids, labels = (
        torch.from_numpy(np.stack(column)) for column in zip(*sequences, strict=True)
    )
    features = table.features(scenes)
    assert features.shape[1] == (num_sub_images + 1) * PATCHES_PER_PARTITION
    head = torch.tensor(maker.head)
    return LanguageBatch(features, visual, blocks, positions, ids, labels, head)
