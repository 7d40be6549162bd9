"""GlobalCom2 (arXiv:2501.05179): the full-image tells how much, and what, of each sub-image stays.

Budgets are shared softly (`allocation.allocate_softly`). Tokens of the full-image are scored by
their CLS attention g_0; those of sub-image j by what they are to their own sub-image and to the
whole image, in equal parts:

    score = g_j / |g_j| + G_j / |G_j|

G_j being g_0 resized bilinearly to the grid of the sub-images and cut, norms over the valid tokens
of the sub-image. Deviations, beside the allocation's: CLS attention of the feature layer, where the
published code takes logits of the layer behind it, which is not loaded; tokens keep their true
places, which the published code loses where there is padding; no newline is added for rows of
padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hired_core.choices import Allocation
from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Needs
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.selection import select_tokens


@dataclass(frozen=True, kw_only=True)
class GlobalCom2Options(AllocationOptions):
    """Of `globalcom2`.

    Attributes:
        allocation: the paper's own, or another.
    """

    allocation: Allocation = "globalcom2"


def pick(evidence: Evidence, groups: Groups, options: GlobalCom2Options) -> Tensor:
    """bool [B, G, n]: top tokens by the sum of both scores."""
    importance = feature_importance_score(evidence.attention["final"])
    score = local_and_global(importance, evidence.layout.centre, evidence.layout.valid)
    return select_tokens(groups.of(score), groups.budgets, groups.valid)


def local_and_global(importance: Tensor, centre: Tensor, valid: Tensor) -> Tensor:
    """float64 [B, P, N]: the score above; of the full-image the unit vector of its attention.

    Args:
        importance: float64 [B, P, N], of which the first P is the full-image.
        centre: [B, P, N, 2], where patches lie in the image (`PartitionLayout.centre`).
        valid: bool [B, P, N].
    """
    globally = sample(importance[:, 0], centre)
    globally[:, 0] = 0
    # Rounded, since a device's order of summation shows in norms: scores decide.
    return ((_unit(importance, valid) + _unit(globally, valid)) * 2**40).round() / 2**40


def sample(full_image: Tensor, centre: Tensor) -> Tensor:
    """[B, P, N]: a map over the full-image, [B, N], read bilinearly at points (y, x)."""
    side = round(full_image.shape[-1] ** 0.5)
    points = (2 * centre.to(full_image.dtype) - 1).flip(-1)
    found: Tensor = torch.nn.functional.grid_sample(
        full_image.unflatten(-1, (side, side))[:, None],
        points,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return found[:, 0]


def _unit(score: Tensor, valid: Tensor) -> Tensor:
    inside: Tensor = score.masked_fill(~valid, 0)
    norm: Tensor = torch.linalg.vector_norm(inside, dim=-1, keepdim=True)
    return inside / norm.clamp(min=1e-30)


METHOD: Final = GroupedSelection(
    pick=pick,
    looks_at=lambda _: Needs(cls_layers=("final",)),
    options=GlobalCom2Options,
    needs_full_image=True,
)
