"""The input image at as few pixels as give the budget, encoded so: "Downsample" of VTC-Bench.

VISOR (arXiv:2603.23495, Table S5) and VTC-Bench report that a smaller image beats many a choice of
tokens. They resize the image of a model of native resolution; here partitions are resized, and the
tower runs on them with its position embeddings interpolated:

    the full-image at g x g patches, g = floor(sqrt(min(T, N))) for a budget of T tokens;
    all sub-images at g' x g', the largest at which their valid patches are no more than T - N.

Sub-images are left out, and not encoded, where even at that g' their grid is not finer than the
full-image: rows g' <= n and cols g' <= n. Nothing is looked at, and counts are quantised, never
exceeded. A small patch stands where the patch of the N-grid stands that its centre lies in, and is
valid if that one is. Deviations: pixels are those of the squared partitions, resized once more, not
of the file; sub-images are of the model's own grid for the image, not of a smaller one on offer.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from hired_core.methods.base import Evidence, Method, Needs, Reduction, selection
from hired_core.methods.grid import centres


class ImageDownsample(Method):
    """See `Method`; its selection is one of small partitions."""

    shrinks = True

    def needs(self, options: Any) -> Needs:
        return Needs()

    def shrink(self, evidence: Evidence, budget: Tensor, options: Any) -> Tensor:
        """int64 [B, P]: patches along a side that each partition is encoded at; 0: it is not."""
        valid = evidence.layout.valid
        patches = valid.shape[-1]
        sides = torch.zeros_like(valid[..., 0], dtype=torch.int64)
        sides[:, 0] = budget.clamp(max=patches).double().sqrt().long()
        if valid.shape[1] > 1:
            small = _side_of_sub_images(evidence, budget - patches)
            sides[:, 1:] = small[:, None].where(evidence.layout.present[:, 1:], 0)
        return sides

    def reduce(self, evidence: Evidence, budget: Tensor, options: Any) -> Reduction:
        keep = _stands(self.shrink(evidence, budget, options), evidence.layout.valid)
        return selection(evidence, keep, keep.sum(-1))


def _stands(sides: Tensor, valid: Tensor) -> Tensor:
    """bool [B, P, N]: the valid patches that a small patch stands for."""
    middle = centres(sides, round(valid.shape[-1] ** 0.5))
    return (middle[..., :, None] & middle[..., None, :]).flatten(2) & valid


def _side_of_sub_images(evidence: Evidence, room: Tensor) -> Tensor:
    """int64 [B]: the largest side at which `room` holds them; 0 where that is not fine enough."""
    valid, place = evidence.layout.valid[:, 1:], evidence.layout.place[:, 1]
    side = round(valid.shape[-1] ** 0.5)
    found = torch.zeros_like(room)
    for number in range(1, side + 1):
        rows = _stands(torch.full_like(place[:, :1], number), valid).sum((1, 2))
        found = torch.where(rows <= room, number, found)
    # From one patch row to the next the place moves on by the stitched grid's columns.
    cols = (place[:, side % valid.shape[-1]] - place[:, 0]).clamp(min=1)
    patches = (evidence.layout.num_partitions - 1) * valid.shape[-1]
    longest = torch.maximum(cols, patches // cols)
    return found.where(found * longest > side * side, 0)


METHOD: Final = ImageDownsample()
