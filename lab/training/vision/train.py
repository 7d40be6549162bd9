"""Training of the vision tower on labelled partitions.

The losses are on the hidden state that LLaVA-Next reads (`hidden_states[-2]`): what each patch
shows, where it lies, and, on CLS, which classes the partition holds. The latter makes the CLS
attention of the layers below it look at content. After the first layer CLS has the same loss (deep
supervision, Lee et al., 2015) and tells on which patches content lies: without anything asked of it
the first layer's attention stays almost even, and HiRED divides the budget by it. The last layer of
the tower takes no part.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from lab.rendering.vocabulary import FIRST_GLYPH, FIRST_KEY, NUM_CLASSES
from lab.training.clock import load_checkpoint
from lab.training.config import (
    FEATURE_LAYER,
    PATCH_SIZE,
    PATCHES_PER_PARTITION,
    TrainingConfig,
    model_config,
)
from lab.training.data.augment import augment
from lab.training.data.partitions import IGNORED, LABELS
from lab.training.data.shards import Shard, finished_shards, open_shard
from lab.training.data.stream import Draw, stream
from lab.training.loop import StageLoop
from lab.training.machine import can_compile, num_feeders, pick_device, precision
from lab.training.vision.losses import (
    PartitionBatch,
    VisionLogits,
    cls_loss,
    describe_accuracy,
    patch_loss,
)

__all__ = ["VisionLearner", "load_learner", "normalise", "train_vision", "vision_loss"]

_LOG_EVERY = 50


class VisionLearner(nn.Module):
    """A CLIP tower up to its feature layer, with the heads that only training uses."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.tower = CLIPVisionModel._from_config(config, attn_implementation="eager")
        width = config.hidden_size
        self.norm = nn.LayerNorm(width)
        self.patch_head = nn.Linear(width, sum(LABELS.values()))
        self.lies_head = nn.Linear(width, PATCHES_PER_PARTITION)
        self.set_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, NUM_CLASSES - 1))
        self.early_set_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, NUM_CLASSES - 1))
        self.early_content_head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, PATCHES_PER_PARTITION)
        )

    def features(self, pixels: Tensor) -> Tensor:
        """`hidden_states[-2]` of the tower, `[B, 1 + N, C]`, CLS first."""
        return self._early_and_features(pixels)[1]

    def forward(self, pixels: Tensor) -> VisionLogits:
        """All logits for normalised pixels `[B, 3, S, S]`."""
        early, hidden = self._early_and_features(pixels)
        patches = self.norm(hidden[:, 1:])
        return VisionLogits(
            patches=self.patch_head(patches),
            lies=self.lies_head(patches),
            classes=self.set_head(hidden[:, 0]),
            early_classes=self.early_set_head(early),
            early_content=self.early_content_head(early),
        )

    def _early_and_features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """CLS after the first layer `[B, C]`, and the features."""
        first, *others = self.tower.encoder.layers[: FEATURE_LAYER + 1]
        hidden: Tensor = first(self.tower.pre_layrnorm(self._embed(pixels)), attention_mask=None)
        early = hidden[:, 0]
        for layer in others:
            hidden = layer(hidden, attention_mask=None)
        return early, hidden

    def _embed(self, pixels: Tensor) -> Tensor:
        """The tower's embeddings; its convolution as a matrix product, which is faster to train."""
        embeddings = self.tower.embeddings
        side = pixels.shape[-1] // PATCH_SIZE
        patches = pixels.unflatten(3, (side, PATCH_SIZE)).unflatten(2, (side, PATCH_SIZE))
        patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        embedded: Tensor = F.linear(patches, embeddings.patch_embedding.weight.flatten(1))
        cls = embeddings.class_embedding.to(embedded.dtype).expand(len(embedded), 1, -1)
        embedded = torch.cat((cls, embedded), dim=1) + embeddings.position_embedding.weight
        return embedded


def normalise(pixels: Tensor) -> Tensor:
    """Float pixels in CLIP's normalisation from uint8, `[..., 3, S, S]`."""
    mean, std = (
        torch.tensor(values, device=pixels.device)[:, None, None]
        for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
    )
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
    if not finished_shards(config):
        raise ValueError("no training shard is rendered yet: run the stage `shards` first")
    device = pick_device()
    learner = VisionLearner(model_config(400, 3, 1, 2, 0).vision_config)
    loop = StageLoop("vision", checkpoint_path(config), learner, config.vision_lr, device)
    # Small steps cost more than products: logits and losses are compiled as one.
    loss_of = torch.compile(vision_loss) if can_compile(device) else vision_loss
    batches = stream(functools.partial(_open_draw, config), (7, loop.step), num_feeders(device))
    shown: tuple[Tensor, Tensor, PartitionBatch]

    def next_loss() -> Tensor:
        nonlocal shown
        batch = next(batches).to(device)
        with precision(device):
            loss, logits = loss_of(learner, batch.pixels, batch.labels, batch.class_sets())
        shown = (*logits, batch)
        return loss

    def describe() -> str:
        return describe_accuracy(*shown)

    loop.train(config.vision_minutes, config.checkpoint_sec, next_loss, describe, _LOG_EVERY)


def vision_loss(
    learner: VisionLearner, pixels: Tensor, labels: Tensor, sets: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Loss of a batch (:class:`PartitionBatch` and its `class_sets`); patch and set logits."""
    logits = learner(normalise(pixels))
    loss = patch_loss(logits, labels) + cls_loss(logits, labels, sets)
    return loss, (logits.patches.detach(), logits.classes.detach())


def _open_draw(config: TrainingConfig) -> Draw[PartitionBatch]:
    """Draws 4 runs of partitions, each from one shard, so that reads stay local."""
    shards = [open_shard(config, index) for index in finished_shards(config)]
    shares = [_draw_shares(shard) for shard in shards]
    per_shard = config.vision_batch // 4

    def draw(rng: np.random.Generator) -> PartitionBatch:
        columns: list[list[np.ndarray]] = [[], []]
        for choice in rng.integers(len(shards), size=4):
            shard = shards[choice]
            rows = np.sort(rng.choice(len(shard.pixels), per_shard, False, shares[choice]))
            for column, array in zip(columns, shard[:2], strict=True):
                column.append(array[rows])
        pixels, labels = (torch.from_numpy(np.concatenate(column)) for column in columns)
        return PartitionBatch(augment(pixels, rng), labels.long())

    return draw


def _draw_shares(shard: Shard) -> npt.NDArray[np.float64]:
    """`[n]` chances of the partitions: the more content, the more there is to learn.

    Glyphs take longest; most of a full-image cannot be read.
    """
    classes = np.asarray(shard.labels[..., 0])
    is_content = (classes > 0) & (classes != IGNORED)
    is_glyph = (classes >= FIRST_GLYPH) & (classes < FIRST_KEY)
    weights = 0.02 + is_content.mean(axis=1) + is_glyph.mean(axis=1)
    weights[shard.starts[:-1]] *= 0.5
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares
