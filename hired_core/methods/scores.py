"""HiRED's two scores, from the CLS attention of two ViT layers (arXiv:2408.10945v3).

Sums are taken over values rounded to multiples of 2**-40 and held in float64, where they are exact
in any order: the scores of an image depend neither on what shares its batch nor on the device's
order of summation.
"""

from __future__ import annotations

from torch import Tensor

from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.layout_batch import LayoutBatch

_QUANTUM = 2.0**40


def visual_content_score(cls_attention: Tensor, layout: PartitionLayout | LayoutBatch) -> Tensor:
    """Share of the image's attention that each sub-image holds; HiRED Eq. 1.

    The attention mass of full-image patches whose centre lies in sub-image i, over the mass of all
    full-image patches. All-zero attention gives all-zero scores; NaN and infinity spread to them.

    Where there is no full-image, the attention of the cells' own tokens stands for it.

    Args:
        cls_attention: float [..., H, N], of the full-image at the initial layer, summed over heads;
            [..., H, P*N] where there is none.
        layout: one image's layout, or a batch whose B matches the leading dimension.

    Returns:
        float64 [..., P-1] in [0, 1]; 0 for sub-images that an image of the batch does not have.
    """
    mass = exact_sum(cls_attention, dim=-2)
    sub_images = layout.valid.shape[-2] - 1
    score = mass.new_zeros(*mass.shape[:-1], sub_images)
    if not sub_images:
        return score
    index = layout.sub_image_of.to(mass.device).expand(mass.shape)
    mass = mass.where(index >= 0, 0)
    score = score.scatter_add(-1, index.clamp(min=0), mass)
    total = mass.sum(-1, keepdim=True)
    return score / total.where(total != 0, total.new_ones(()))


def feature_importance_score(cls_attention: Tensor) -> Tensor:
    """Importance of each visual token: its CLS attention summed over heads; HiRED Eq. 2.

    Args:
        cls_attention: float [..., P, H, N], at the final layer.

    Returns:
        float64 [..., P, N], >= 0.
    """
    return exact_sum(cls_attention, dim=-2)


def exact_sum(values: Tensor, dim: int) -> Tensor:
    """Sum over `dim` as float64, the same in every order of summation.

    Exact while the absolute sum stays below 2**13, far above any sum of attention over heads and
    patches.
    """
    return (values.double() * _QUANTUM).round().sum(dim) / _QUANTUM
