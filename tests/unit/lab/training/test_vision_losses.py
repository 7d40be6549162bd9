import math

import pytest
import torch
from torch import Tensor

from lab.rendering.vocabulary import FIRST_GLYPH, NUM_CLASSES
from lab.training.config import PATCHES_PER_PARTITION
from lab.training.data.partitions import IGNORED, LABELS
from lab.training.vision.losses import PartitionBatch, VisionLogits, cls_loss, patch_loss

N = PATCHES_PER_PARTITION
SURE = 50.0


def labelled() -> PartitionBatch:
    """Three partitions: a glyph on 4 patches and an unclear one, an object's centre, and bare."""
    labels = torch.zeros(3, N, len(LABELS), dtype=torch.long)
    labels[0, 10:14, 0], labels[0, 10:14, 1], labels[0, 10:14, 2] = FIRST_GLYPH + 3, 2, 5
    labels[0, 14, 0] = IGNORED
    labels[1, 40, 0], labels[1, 40, 4] = 7, 1
    return PartitionBatch(torch.zeros(3, 3, 168, 168, dtype=torch.uint8), labels)


def one_hot(labels: Tensor, size: int) -> Tensor:
    return SURE * torch.nn.functional.one_hot(labels.clamp(max=size - 1), size).float()


def right_logits(batch: PartitionBatch) -> VisionLogits:
    """Sure of everything that is true; content is held to lie evenly on its patches."""
    columns = zip(batch.labels.unbind(-1), LABELS.values(), strict=True)
    classes = batch.labels[..., 0]
    is_content = ((classes > 0) & (classes != IGNORED)).float()
    sets = SURE * (2 * batch.class_sets() - 1)
    return VisionLogits(
        patches=torch.cat([one_hot(column, size) for column, size in columns], dim=-1),
        lies=one_hot(torch.arange(N).expand(3, N), N),
        classes=sets,
        early_classes=sets,
        early_content=SURE * is_content,
    )


def test_no_loss_where_all_is_right_but_for_the_entropy_of_content() -> None:
    batch = labelled()
    logits = right_logits(batch)
    assert float(patch_loss(logits, batch.labels)) == pytest.approx(0.0, abs=1e-6)
    # log(4) for the four patches of the glyph, nothing for one patch or none; mean of three.
    loss = cls_loss(logits, batch.labels, batch.class_sets())
    assert float(loss) == pytest.approx(math.log(4) / 3, abs=1e-5)


@pytest.mark.parametrize("name", ["patches", "lies"])
def test_every_patch_head_is_trained(name: str) -> None:
    batch = labelled()
    logits = right_logits(batch)
    wrong = getattr(logits, name).roll(1, dims=-1)
    assert float(patch_loss(logits._replace(**{name: wrong}), batch.labels)) > 1.0


@pytest.mark.parametrize("name", ["classes", "early_classes", "early_content"])
def test_every_cls_head_is_trained(name: str) -> None:
    batch = labelled()
    logits = right_logits(batch)
    wrong = getattr(logits, name).roll(1, dims=-1)
    right = cls_loss(logits, batch.labels, batch.class_sets())
    loss = cls_loss(logits._replace(**{name: wrong}), batch.labels, batch.class_sets())
    assert float(loss) > float(right) + 1.0


def test_unclear_patches_cost_nothing() -> None:
    batch = labelled()
    logits = right_logits(batch)
    changed = logits.patches.clone()
    changed[0, 14, :NUM_CLASSES] = 0.0
    assert float(patch_loss(logits._replace(patches=changed), batch.labels)) < 1e-6
