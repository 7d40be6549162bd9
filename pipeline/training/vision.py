"""Training of the vision tower on labelled partitions.

Two losses, both on the hidden state that LLaVA-Next reads (`hidden_states[-2]`): what each patch
shows, and, on CLS, which classes the partition holds. The second makes the CLS attention of the
layers below it look at content. The last layer of the tower takes no part.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from pipeline.evaluation.drawing import NUM_MASK_CLASSES
from pipeline.evaluation.scenes import NUM_OBJECT_CLASSES
from pipeline.training.clock import (
    StageClock,
    can_compile,
    cosine_with_warmup,
    load_checkpoint,
    save_checkpoint,
)
from pipeline.training.config import FEATURE_LAYER, TrainingConfig, model_config
from pipeline.training.partitions import IGNORED, NUM_PLACES
from pipeline.training.shards import Shard, finished_shards, open_shard

__all__ = ["PartitionBatch", "VisionLearner", "load_learner", "normalise", "train_vision"]

_LOG_EVERY = 50


class PartitionBatch(NamedTuple):
    """Pixels `[B, 3, S, S]` uint8, patch classes and places `[B, N]` int64."""

    pixels: Tensor
    classes: Tensor
    places: Tensor

    def class_sets(self) -> Tensor:
        """`[B, classes - 1]` float: 1 where some patch of the partition shows the class."""
        clear = torch.where(self.classes == IGNORED, 0, self.classes)
        sets = torch.zeros(len(clear), NUM_MASK_CLASSES)
        return sets.scatter_(1, clear, 1.0)[:, 1:]


class VisionLearner(nn.Module):
    """A CLIP tower up to its feature layer, with the heads that only training uses."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.tower = CLIPVisionModel._from_config(config, attn_implementation="eager")
        width = config.hidden_size
        self.norm = nn.LayerNorm(width)
        self.patch_head = nn.Linear(width, NUM_MASK_CLASSES)
        self.place_head = nn.Linear(width, NUM_PLACES)
        self.set_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, NUM_MASK_CLASSES - 1))

    def features(self, pixels: Tensor) -> Tensor:
        """`hidden_states[-2]` of the tower, `[B, 1 + N, C]`, CLS first."""
        hidden: Tensor = self.tower.pre_layrnorm(self.tower.embeddings(pixels))
        for layer in self.tower.encoder.layers[: FEATURE_LAYER + 1]:
            hidden = layer(hidden, attention_mask=None)
        return hidden

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of patch classes `[B, N, classes]`, places, and the class set of CLS."""
        hidden = self.features(pixels)
        patches = self.norm(hidden[:, 1:])
        return self.patch_head(patches), self.place_head(patches), self.set_head(hidden[:, 0])


def normalise(pixels: Tensor) -> Tensor:
    """Float pixels in CLIP's normalisation from uint8, `[..., 3, S, S]`."""
    mean = torch.tensor(OPENAI_CLIP_MEAN)[:, None, None]
    std = torch.tensor(OPENAI_CLIP_STD)[:, None, None]
    return (pixels.float() / 255.0 - mean) / std


def load_learner(config: TrainingConfig) -> tuple[VisionLearner, dict[str, float]]:
    """The learner at its last checkpoint, with the steps and minutes it took."""
    learner = VisionLearner(model_config(400, 3, 1, 2, 0).vision_config)
    state = load_checkpoint(checkpoint_path(config))
    if state is None:
        return learner, {"steps": 0, "minutes": 0.0}
    learner.load_state_dict(state["model"])
    return learner, {"steps": state["step"], "minutes": state["elapsed_sec"] / 60}


def checkpoint_path(config: TrainingConfig) -> Path:
    """Where the vision stage keeps its checkpoint."""
    return config.folder / "vision.pt"


def train_vision(config: TrainingConfig) -> None:
    """Trains the vision tower to the end of its minutes, from its checkpoint if there is one."""
    torch.manual_seed(0)
    learner = VisionLearner(model_config(400, 3, 1, 2, 0).vision_config)
    decayed = [p for p in learner.parameters() if p.ndim > 1]
    others = [p for p in learner.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.vision_lr, betas=(0.9, 0.98), fused=True)
    path, step, elapsed = checkpoint_path(config), 0, 0.0
    if (state := load_checkpoint(path)) is not None:
        learner.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, elapsed = state["step"], state["elapsed_sec"]
    forward = torch.compile(learner) if can_compile() else learner
    clock = StageClock(60 * config.vision_minutes, elapsed)
    batches = _Batches(config, seed=step)
    # The next batch is read while this one trains.
    loader = ThreadPoolExecutor(max_workers=1)
    upcoming = loader.submit(batches.draw)
    saved_sec = clock.elapsed_sec
    while (progress := clock.lap()) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = config.vision_lr * cosine_with_warmup(step, progress, 200)
        batch, upcoming = upcoming.result(), loader.submit(batches.draw)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = forward(normalise(batch.pixels))
        loss, parts = _loss(batch, *logits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % _LOG_EVERY == 0:
            print(f"vision: step {step} minute {clock.elapsed_sec / 60:.1f} {parts}", flush=True)
        if clock.elapsed_sec - saved_sec > config.checkpoint_sec:
            _save(path, learner, optimizer, step, clock)
            saved_sec = clock.elapsed_sec
    loader.shutdown(cancel_futures=True)
    _save(path, learner, optimizer, step, clock)


def _save(
    path: Path, learner: VisionLearner, optimizer: torch.optim.AdamW, step: int, clock: StageClock
) -> None:
    state = {"model": learner.state_dict(), "optimizer": optimizer.state_dict()}
    save_checkpoint(path, {**state, "step": step, "elapsed_sec": clock.elapsed_sec})


def _loss(
    batch: PartitionBatch, patch_logits: Tensor, place_logits: Tensor, set_logits: Tensor
) -> tuple[Tensor, str]:
    """The weighted sum of the three losses, and a line for the log."""
    classes, places = batch.classes.flatten(), batch.places.flatten()
    patch_logits, set_logits = patch_logits.float().flatten(0, 1), set_logits.float()
    weight = torch.ones(NUM_MASK_CLASSES)
    weight[0], weight[1 + NUM_OBJECT_CLASSES :] = 0.2, 2.0
    patch_loss = F.cross_entropy(patch_logits, classes, weight, ignore_index=IGNORED)
    is_glyph = places > 0
    place_logits = place_logits.float().flatten(0, 1)[is_glyph]
    place_loss = F.cross_entropy(place_logits, places[is_glyph]) if is_glyph.any() else 0.0
    sets = batch.class_sets()
    set_loss = F.binary_cross_entropy_with_logits(set_logits, sets, reduction="sum") / len(sets)
    with torch.no_grad():
        is_object = (classes > 0) & (classes <= NUM_OBJECT_CLASSES)
        right = patch_logits.argmax(-1) == classes
        found = set_logits > 0
        overlap = (found & (sets > 0)).sum()
        f1 = 2 * overlap / (found.sum() + sets.sum()).clamp(min=1)
        line = (
            f"patch {float(patch_loss):.3f} set {float(set_loss):.2f} objects "
            f"{float(right[is_object].float().mean()):.2f} glyphs "
            f"{float(right[is_glyph].float().mean()):.2f} set F1 {float(f1):.2f}"
        )
    return patch_loss + 0.2 * place_loss + 0.15 * set_loss, line


class _Batches:
    """Random partitions of the shards rendered so far; looks for new shards now and then."""

    def __init__(self, config: TrainingConfig, seed: int) -> None:
        self._config = config
        self._rng = np.random.default_rng((7, seed))
        self._shards: list[Shard] = []
        self._shares: list[npt.NDArray[np.float64]] = []
        self._draws = 0

    def draw(self) -> PartitionBatch:
        """The next batch: 4 runs of partitions, each from one shard, so that reads stay local."""
        if self._draws % 100 == 0 and len(self._shards) < self._config.num_shards:
            indices = finished_shards(self._config)
            self._shards = [open_shard(self._config, index) for index in indices]
            self._shares = [_draw_shares(shard) for shard in self._shards]
        self._draws += 1
        if not self._shards:
            raise ValueError("no training shard is rendered yet: run the stage `shards` first")
        per_shard = self._config.vision_batch // 4
        columns: list[list[np.ndarray]] = [[], [], []]
        for choice in self._rng.integers(len(self._shards), size=4):
            shard = self._shards[choice]
            rows = np.sort(
                self._rng.choice(len(shard.pixels), per_shard, False, self._shares[choice])
            )
            for column, array in zip(columns, shard[:3], strict=True):
                column.append(array[rows])
        pixels, classes, places = (torch.from_numpy(np.concatenate(c)) for c in columns)
        return PartitionBatch(pixels, classes.long(), places.long())


def _draw_shares(shard: Shard) -> npt.NDArray[np.float64]:
    """`[n]` chances of the partitions: glyphs take longest to learn, empty ones teach little."""
    has_glyph = (np.asarray(shard.places) > 0).any(axis=1)
    classes = np.asarray(shard.classes)
    is_empty = ((classes == 0) | (classes == IGNORED)).all(axis=1)
    weights = np.where(has_glyph, 3.0, np.where(is_empty, 0.1, 1.0))
    # Glyphs are too small to read in most full-images.
    weights[shard.starts[:-1]] = 0.7
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares
