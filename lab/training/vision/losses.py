"""What the vision tower is trained for: its logits, the labels of a batch, and their losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.rendering.vocabulary import BAR, FIRST_GLYPH, FIRST_KEY, NUM_CLASSES
from lab.training.config import PATCHES_PER_PARTITION
from lab.training.data.partitions import IGNORED, LABELS

__all__ = ["PartitionBatch", "VisionLogits", "cls_loss", "describe_accuracy", "patch_loss"]


class PartitionBatch(NamedTuple):
    """Pixels `[B, 3, S, S]` uint8 and patch labels `[B, N, len(LABELS)]` int64."""

    pixels: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> PartitionBatch:
        """The same batch on a device."""
        return PartitionBatch(self.pixels.to(device), self.labels.to(device))

    def class_sets(self) -> Tensor:
        """`[B, classes - 1]` float: 1 where some patch of the partition shows the class."""
        classes = self.labels[..., 0]
        clear = torch.where(classes == IGNORED, 0, classes)
        sets = torch.zeros(len(clear), NUM_CLASSES, device=clear.device)
        return sets.scatter_(1, clear, 1.0)[:, 1:]


class VisionLogits(NamedTuple):
    """What the heads say.

    Attributes:
        patches: the patch labels side by side, `[B, N, sum(LABELS)]`.
        lies: which patch of its partition each patch is, `[B, N, N]`.
        classes: the classes that CLS finds, `[B, NUM_CLASSES - 1]`.
        early_classes: those of CLS after the first layer.
        early_content: on which patches CLS finds content after the first layer, `[B, N]`.
    """

    patches: Tensor
    lies: Tensor
    classes: Tensor
    early_classes: Tensor
    early_content: Tensor


class _Targets(NamedTuple):
    """`[B, N]` masks of the patches that a loss or a share is about."""

    is_object: Tensor
    is_glyph: Tensor
    is_key: Tensor
    is_bar: Tensor

    @classmethod
    def of(cls, classes: Tensor) -> _Targets:
        return cls(
            is_object=(classes > 0) & (classes < FIRST_GLYPH),
            is_glyph=(classes >= FIRST_GLYPH) & (classes < FIRST_KEY),
            is_key=(classes >= FIRST_KEY) & (classes < BAR),
            is_bar=classes == BAR,
        )


def _split(patch_logits: Tensor) -> dict[str, Tensor]:
    """Logits by the name of the label."""
    parts = patch_logits.float().split(list(LABELS.values()), dim=-1)
    return dict(zip(LABELS, parts, strict=True))


def patch_loss(all_logits: VisionLogits, labels: Tensor) -> Tensor:
    """The weighted sum of the losses of patch labels `[B, N, columns]` and of where patches lie."""
    logits = _split(all_logits.patches)
    columns = dict(zip(LABELS, labels.unbind(-1), strict=True))
    weight = torch.ones(NUM_CLASSES, device=labels.device)
    weight[0], weight[FIRST_GLYPH:FIRST_KEY] = 0.2, 2.0
    loss = F.cross_entropy(
        logits["class"].flatten(0, 1), columns["class"].flatten(), weight, ignore_index=IGNORED
    )
    targets = _Targets.of(columns["class"])
    for name, chosen, share in (
        ("place", targets.is_glyph, 0.3),
        ("owner", targets.is_glyph | targets.is_bar, 0.3),
        ("level", targets.is_bar, 0.1),
        ("centre", targets.is_object, 0.3),
    ):
        target = torch.where(chosen, columns[name], IGNORED).flatten()
        total = F.cross_entropy(
            logits[name].flatten(0, 1), target, ignore_index=IGNORED, reduction="sum"
        )
        loss = loss + share * total / chosen.sum().clamp(min=1)
    lies = all_logits.lies.float().flatten(0, 1)
    places = torch.arange(PATCHES_PER_PARTITION, device=labels.device).repeat(len(labels))
    return loss + 0.1 * F.cross_entropy(lies, places)


def cls_loss(logits: VisionLogits, labels: Tensor, sets: Tensor) -> Tensor:
    """The weighted sum of the losses of CLS: its classes, and on which patches content lies."""
    loss = torch.zeros((), device=labels.device)
    for found in (logits.classes, logits.early_classes):
        set_loss = F.binary_cross_entropy_with_logits(found.float(), sets, reduction="sum")
        loss = loss + 0.1 * set_loss / len(sets)
    is_content = (labels[..., 0] > 0) & (labels[..., 0] != IGNORED)
    # Bare partitions weigh nothing: content lies nowhere.
    where = is_content / is_content.sum(1, keepdim=True).clamp(min=1)
    content_loss = -(where * logits.early_content.float().log_softmax(-1)).sum() / len(labels)
    return loss + content_loss


@torch.no_grad()
def describe_accuracy(patch_logits: Tensor, set_logits: Tensor, batch: PartitionBatch) -> str:
    """Shares of right patches, and F1 of the CLS set, for the log."""
    columns = batch.labels.unbind(-1)
    logits, targets = _split(patch_logits), _Targets.of(columns[0])
    right = {
        name: logits[name].argmax(-1) == column
        for name, column in zip(LABELS, columns, strict=True)
    }
    shares = {
        "objects": right["class"][targets.is_object],
        "centres": right["centre"][targets.is_object],
        "glyphs": right["class"][targets.is_glyph],
        "places": right["place"][targets.is_glyph],
        "owners": right["owner"][targets.is_glyph],
        "keys": right["class"][targets.is_key],
        "levels": right["level"][targets.is_bar],
    }
    line = " ".join(f"{name} {float(x.float().mean()):.2f}" for name, x in shares.items())
    found, sets = set_logits > 0, batch.class_sets() > 0
    f1 = 2 * (found & sets).sum() / (found.sum() + sets.sum()).clamp(min=1)
    return f"{line} set F1 {float(f1):.2f}"
