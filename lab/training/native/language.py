"""Training of the merger and the language model on the frozen tower, with M-RoPE's positions.

Dense only: every visual token at its row and column, as the family's own model sees it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from lab.training.config import TrainingConfig
from lab.training.language.batches import LanguageBatch, stacked
from lab.training.language.packing import PackedImage, pack
from lab.training.language.texts import TextMaker
from lab.training.language.train import LanguageLearner, Meter, batch_loss
from lab.training.loop import StageLoop
from lab.training.machine import pick_device, precision
from lab.training.native.model import NativeModel, open_model, recipe_of
from lab.training.native.pictures import Grid, NativePictures, Seen
from lab.training.native.vision import TowerLearner, load_tower

__all__ = ["LearntPictures", "make_learner", "native_batch", "text_maker", "train_decoder"]

_LOG_EVERY = 20
_TEXT_ROOM = 144


class LearntPictures(NamedTuple):
    """Pictures of a batch, and what is asked about them."""

    seen: Seen
    batch: LanguageBatch


def decoder_checkpoint(config: TrainingConfig) -> Path:
    return config.folder / "language.pt"


def make_learner(native: NativeModel) -> LanguageLearner:
    """The model's own decoder and head behind the family's projector."""
    return LanguageLearner(native.model, native.projector)


def train_decoder(config: TrainingConfig) -> None:
    """Trains to the end of the stage's minutes, from its checkpoint if there is one."""
    device = pick_device()
    native = open_model(config, device)
    tower = load_tower(config, native).eval().requires_grad_(False).to(device)
    learner = make_learner(native)
    loop = StageLoop("language", decoder_checkpoint(config), learner, config.language_lr, device)
    if not loop.step:
        _start_weights(learner)
    batches = _batches(config, native, loop.step)
    meter = Meter(native.tokenizer, device)

    def next_loss() -> Tensor:
        seen, batch = next(batches)
        batch = batch.to(device)
        with precision(device):
            features = rows_of(tower, seen, device)
            loss, logits = batch_loss(learner, features, batch)
        meter.add(batch, logits)
        return loss

    loop.train(config.language_minutes, config.checkpoint_sec, next_loss, meter.line, _LOG_EVERY)


@torch.no_grad()
def rows_of(tower: TowerLearner, seen: Seen, device: torch.device) -> Tensor:
    """float32 `[B, most tokens, F]`; behind an image's own rows zeros."""
    features = tower.features(seen.patches.to(device), seen.grids).float()
    counts = [rows * cols for rows, cols in seen.grids]
    return nn.utils.rnn.pad_sequence(list(features.split(counts)), batch_first=True)


def text_maker(config: TrainingConfig, native: NativeModel) -> TextMaker:
    """What the recipe asks about pictures."""
    geometry = native.geometry
    lessons = recipe_of(config).lessons(lambda p: geometry.token_grid((p.height, p.width)))
    return TextMaker(native.tokenizer, lessons)


def native_batch(seen: Seen, maker: TextMaker, rng: np.random.Generator) -> LanguageBatch:
    """Images packed with their texts, with three positions for each place."""
    room = max(rows * cols for rows, cols in seen.grids)
    sequences: list[PackedImage] = []
    places: list[npt.NDArray[np.int64]] = []
    for picture, (rows, cols) in zip(seen.pictures, seen.grids, strict=True):
        texts, order = maker.texts(picture, rng), tuple(range(rows * cols))
        packed = pack(order, len(maker.head), room, texts, _TEXT_ROOM)
        sequences.append(_at_rows_and_columns(packed, len(maker.head), (rows, cols)))
        places.append(maker.places(picture, packed.ids))
    return stacked(sequences, maker.head, places)


def _at_rows_and_columns(packed: PackedImage, head: int, grid: Grid) -> PackedImage:
    """Positions `[3, L]`: tokens at their row and column, texts behind the longer side."""
    rows, cols = grid
    positions = np.repeat(packed.positions[None], 3, axis=0)
    image = slice(head, head + rows * cols)
    row, col = np.divmod(np.arange(rows * cols), cols)
    positions[:, image] = head + np.stack([np.zeros_like(row), row, col])
    positions[:, packed.blocks > 0] -= rows * cols - max(rows, cols)
    return packed._replace(positions=positions)


@torch.no_grad()
def _start_weights(learner: LanguageLearner) -> None:
    """Matrices of the projector keep the size of their input; embeddings get that of its output."""
    matrices = [weight for weight in learner.projector.parameters() if weight.ndim == 2]
    for weight in matrices:
        weight.normal_(std=1 / math.sqrt(weight.shape[1]))
    matrices[-1].mul_(0.2)
    learner.language_model.embed_tokens.weight.normal_(std=0.1)


def _batches(config: TrainingConfig, native: NativeModel, step: int) -> Iterator[LearntPictures]:
    pictures = NativePictures(config, native.geometry)
    maker, rng = text_maker(config, native), np.random.default_rng((11, step))
    while True:
        seen = pictures.draw(rng, config.language_batch)
        yield LearntPictures(seen, native_batch(seen, maker, rng))
