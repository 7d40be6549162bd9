"""HiRED as its published code does it, quirk by quirk (not the paper's; see `hired`).

Only to reproduce that code's numbers, and so only on towers with a CLS token. Its departures from
the paper, all kept here:

* Sub-image i is the i-th of k contiguous chunks of the flattened full-image (horizontal bands),
  right for k x 1 grids only.
* Shares are counts in a binary mask of the top `int(N * (1 - alpha))` tokens, not attention mass.
* Floors and the clamp at N lose tokens; nothing is redistributed.
* Padding may be selected, and is lost on unpadding (`select`).
* A fraction is always of the image's own P*N.

The transposed grid is an option, since it was repaired in transformers; the missing newline a
policy of the sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from hired_core.errors import require
from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.budget import descending_rank, floor_count
from hired_core.methods.pairing import PairedSelection
from hired_core.methods.scores import exact_sum, feature_importance_score
from hired_core.methods.selection import select_tokens


@dataclass(frozen=True, kw_only=True)
class UpstreamOptions:
    """Of `hired-upstream`.

    Attributes:
        alpha: share of the budget for the full-image, 0 to 1.
        transposed_grid: stitch and unpad as if the grid were (cols, rows).
    """

    alpha: float = 0.5
    transposed_grid: bool = False

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 1, "alpha", self.alpha, "0 to 1")


def allocate_budget(
    cls_attention: Tensor, num_partitions: Tensor, most: int, budget: Tensor, alpha: float
) -> Tensor:
    """int64 [B, P] budgets; their sum may fall short of `budget`.

    Where the published code stops with an error (alpha 1 with a mask of no tokens), the sub-images
    get nothing.

    Args:
        cls_attention: float [B, H, N], of the full-image at the initial layer.
        num_partitions: int64 [B].
        most: P, the largest of them in the batch.
        budget: int64 [B].
        alpha: share of the full-image.
    """
    num_patches = cls_attention.shape[-1]
    sub_images = num_partitions - 1
    full = floor_count(alpha * budget.double()).clamp(max=num_patches)
    rest = torch.minimum(budget - full, sub_images * num_patches)
    counts = _band_counts(cls_attention, sub_images, most - 1, int(num_patches * (1 - alpha)))
    share = counts * rest[:, None] // counts.sum(-1, keepdim=True).clamp(min=1)
    return torch.cat([full[:, None], share.clamp(max=num_patches)], dim=-1)


def _band_counts(cls_attention: Tensor, sub_images: Tensor, width: int, top: int) -> Tensor:
    """int64 [B, P-1]: how many of the `top` tokens lie in each horizontal band."""
    in_top = (descending_rank(exact_sum(cls_attention, dim=-2)) < top).long()
    index = torch.arange(cls_attention.shape[-1], device=cls_attention.device)
    band = index * sub_images[:, None] // cls_attention.shape[-1]
    return in_top.new_zeros(in_top.shape[0], width).scatter_add_(-1, band, in_top)


def allocate(evidence: Evidence, budget: Tensor, options: UpstreamOptions) -> Tensor:
    """int64 [B, P]; an image of one partition gives it the whole budget."""
    counts, most = evidence.layout.num_partitions, evidence.layout.valid.shape[1]
    attention = given(evidence.full_image_attention)
    if most == 1:
        return budget[:, None].clamp(max=attention.shape[-1])
    return allocate_budget(attention, counts, most, budget, options.alpha)


def select(evidence: Evidence, budgets: Tensor, options: UpstreamOptions) -> Tensor:
    """bool [B, P, N]: top tokens, padding among the candidates and lost afterwards."""
    importance = feature_importance_score(evidence.attention["final"])
    candidates = evidence.layout.present[..., None].expand_as(evidence.layout.valid)
    return select_tokens(importance, budgets, candidates) & evidence.layout.valid


METHOD: Final = PairedSelection(
    allocate=allocate,
    select=select,
    looks_at=lambda _: Needs(full_image_layer="initial", cls_layers=("final",)),
    options=UpstreamOptions,
    own_basis=True,
    needs_full_image=True,
    needs_cls=True,
)
