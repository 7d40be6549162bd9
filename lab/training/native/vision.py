"""Training of a tower of native resolution on labelled patches.

The losses are on what the merger reads: what each patch shows, and where an object's centre lies.
There is no CLS token to ask which classes an image holds; what stands for it is the mean of what
attention brings to all patches, that is, of values weighted by the attention they receive, after
the first layer and in the last. So both layers have a reason to look at content, as the embedded
model's CLS has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hired_core.vision.packed import PackedEncoder, PackedTower
from lab.rendering.vocabulary import NUM_OBJECT_CLASSES, SHAPES
from lab.training.clock import load_checkpoint
from lab.training.config import TrainingConfig
from lab.training.data.partitions import IGNORED
from lab.training.loop import StageLoop
from lab.training.machine import pick_device, precision
from lab.training.native.model import NativeModel, open_model
from lab.training.native.pictures import TEXT, Grid, NativePictures, Seen

__all__ = ["TowerLearner", "TowerLogits", "load_tower", "tower_loss", "train_tower"]

_LOG_EVERY = 20
_NUM_SHAPES = len(SHAPES)
_NUM_COLOURS = NUM_OBJECT_CLASSES // _NUM_SHAPES
_NUM_KINDS = 3
"""Nothing, an object, text."""


class TowerLogits(NamedTuple):
    """Of patches, `[T, n]` each, and of the sets that two layers find, `[B, classes]` each."""

    kind: Tensor
    colour: Tensor
    shape: Tensor
    centre: Tensor
    sets: tuple[Tensor, ...]


class TowerLearner(nn.Module):
    """A tower, run by the project's own encoder, with the heads that only training uses."""

    def __init__(self, native: NativeModel) -> None:
        super().__init__()
        visual = native.model.model.visual
        # The merger is the language stage's.
        self.patch_embed, self.blocks = visual.patch_embed, visual.blocks
        tower = native.family.vision_of(native.model, native.spec)
        assert isinstance(tower, PackedTower), "recipes are of families of native resolution"
        self.encoder = PackedEncoder(tower)
        width = native.spec.vision_width
        self.patch_head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, _NUM_KINDS + _NUM_COLOURS + _NUM_SHAPES + 2)
        )
        self.set_heads = nn.ModuleList(_set_head(width) for _ in range(2))
        self._brought: list[Tensor] = []
        for block in (self.blocks[0], self.blocks[-1]):
            block.attn.proj.register_forward_hook(self._note)

    def _note(self, module: nn.Module, args: Any, output: Tensor) -> None:
        if self.training:
            self._brought.append(output)

    def features(self, patches: Tensor, grids: list[Grid]) -> Tensor:
        """`[n, F]` of all visual tokens, their patches side by side."""
        packed = self.encoder.embed(patches, grids)
        # Sums of layers are kept in float32 beside products in bfloat16.
        packed = replace(packed, hidden=packed.hidden.float())
        return self.encoder.finish_all(self.encoder.encode(packed))

    def forward(self, patches: Tensor, grids: list[Grid]) -> TowerLogits:
        """Logits for uint8 `[T, 3, p, p]`."""
        self._brought.clear()
        hidden = self.features(patches, grids).reshape(len(patches), -1)
        area = self.encoder.tower.merge**2
        counts = [rows * cols * area for rows, cols in grids]
        sets = tuple(
            head(torch.stack([image.float().mean(0) for image in brought.split(counts)]))
            for head, brought in zip(self.set_heads, self._brought, strict=False)
        )
        sizes = [_NUM_KINDS, _NUM_COLOURS, _NUM_SHAPES, 2]
        kind, colour, shape, centre = self.patch_head(hidden).float().split(sizes, dim=-1)
        return TowerLogits(kind, colour, shape, centre, sets)


def _set_head(width: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, NUM_OBJECT_CLASSES))


def tower_loss(logits: TowerLogits, seen: Seen) -> Tensor:
    """The weighted sum of all losses."""
    classes, centre = seen.labels.unbind(-1)
    is_object = (classes > 0) & (classes < TEXT)
    kind = torch.where(classes == IGNORED, IGNORED, is_object + 2 * (classes == TEXT).long())
    weight = logits.kind.new_tensor([0.2, 1.0, 0.5])
    loss = F.cross_entropy(logits.kind, kind, weight, ignore_index=IGNORED)
    inside = (classes - 1)[is_object]
    if len(inside):
        loss = loss + F.cross_entropy(logits.colour[is_object], inside // _NUM_SHAPES)
        loss = loss + F.cross_entropy(logits.shape[is_object], inside % _NUM_SHAPES)
        loss = loss + 0.3 * F.cross_entropy(logits.centre[is_object], centre[is_object])
    wanted = _sets(seen).to(loss.device)
    for found in logits.sets:
        total = F.binary_cross_entropy_with_logits(found.float(), wanted, reduction="sum")
        loss = loss + 0.1 * total / len(wanted)
    return loss


def _sets(seen: Seen) -> Tensor:
    """`[B, classes]`: 1 for what a picture shows."""
    sets = torch.zeros(len(seen.pictures), NUM_OBJECT_CLASSES)
    for row, picture in enumerate(seen.pictures):
        sets[row, [item.class_id for item in picture.objects]] = 1.0
    return sets


@torch.no_grad()
def describe(logits: TowerLogits, seen: Seen) -> str:
    """Shares of right patches, and F1 of the last layer's set."""
    classes, _ = seen.labels.unbind(-1)
    is_object = (classes > 0) & (classes < TEXT)
    inside = (classes - 1)[is_object]
    kind = (logits.kind.argmax(-1) == 1)[is_object]
    colour = logits.colour.argmax(-1)[is_object] == inside // _NUM_SHAPES
    shape = logits.shape.argmax(-1)[is_object] == inside % _NUM_SHAPES
    found, sets = logits.sets[-1].cpu() > 0, _sets(seen) > 0
    f1 = 2 * (found & sets).sum() / (found.sum() + sets.sum()).clamp(min=1)
    shares = {"found": kind, "colours": colour, "shapes": shape, "both": colour & shape}
    line = " ".join(f"{name} {float(x.float().mean()):.2f}" for name, x in shares.items())
    return f"{line} set F1 {float(f1):.2f}"


def tower_checkpoint(config: TrainingConfig) -> Path:
    return config.folder / "tower.pt"


def load_tower(config: TrainingConfig, native: NativeModel) -> TowerLearner:
    """The learner at its last checkpoint; it holds the model's own modules, so that it fills them.

    Raises:
        ValueError: if it was not trained yet.
    """
    learner, state = TowerLearner(native), load_checkpoint(tower_checkpoint(config))
    if state is None:
        raise ValueError(f"no vision checkpoint in {config.folder}: run the stage `vision`")
    learner.load_state_dict(state["model"])
    return learner


def train_tower(config: TrainingConfig) -> None:
    """Trains to the end of the stage's minutes, from its checkpoint if there is one."""
    device = pick_device()
    native = open_model(config, device)
    learner = TowerLearner(native)
    loop = StageLoop("vision", tower_checkpoint(config), learner, config.vision_lr, device)
    batches = _batches(config, native, loop.step)
    shown: tuple[TowerLogits, Seen]

    def next_loss() -> Tensor:
        nonlocal shown
        seen = next(batches)
        seen = seen._replace(patches=seen.patches.to(device), labels=seen.labels.to(device))
        with precision(device):
            logits = learner(seen.patches, seen.grids)
        shown = (logits, seen)
        return tower_loss(logits, seen)

    loop.train(
        config.vision_minutes,
        config.checkpoint_sec,
        next_loss,
        lambda: describe(*shown),
        _LOG_EVERY,
    )


def _batches(config: TrainingConfig, native: NativeModel, step: int) -> Iterator[Seen]:
    pictures = NativePictures(config, native.geometry)
    rng = np.random.default_rng((7, step))
    while True:
        yield pictures.draw(rng, config.vision_batch)
