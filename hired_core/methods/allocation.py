"""Allocations that methods share: how many visual tokens each partition gets.

A selection of `hired_core.methods.grouping` takes any of them by its option `allocation`:

* `equal`: the same for every partition.
* `content`: HiRED's, `alpha` for the full-image, the rest by visual content score (Eq. 1).
* `globalcom2`: GlobalCom2's (arXiv:2501.05179), softly by what the full-image attends to.
* `global`: no shares at all, the whole image is one group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, get_args

import torch
from torch import Tensor

from hired_core.choices import Allocation
from hired_core.errors import SettingError, require
from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.budget import allocate_budget, allocate_evenly, integer_weights, water_fill
from hired_core.methods.scores import visual_content_score

TEMPERATURE: Final = 10.0
"""GlobalCom2's tau; its paper found 5 to 20 to make no difference."""

_TINY: Final = 2.0**-40
_QUANTUM: Final = 2.0**24


@dataclass(frozen=True, kw_only=True)
class AllocationOptions:
    """Of every selection that can be given its budgets by any allocation.

    Attributes:
        allocation: `equal`, `content`, `globalcom2` or `global`.
        alpha: share of the budget for the full-image, 0 to 1; of `content` alone.
    """

    allocation: Allocation = "equal"
    alpha: float = 0.5

    def __post_init__(self) -> None:
        allowed = get_args(Allocation)
        require(self.allocation in allowed, "allocation", self.allocation, ", ".join(allowed))
        require(0 <= self.alpha <= 1, "alpha", self.alpha, "0 to 1")


def require_partitions(options: AllocationOptions) -> None:
    """Raises `SettingError` for `global`, of methods that merge within partitions."""
    if options.allocation == "global":
        raise SettingError("allocation: 'global' has no partitions, within which tokens are merged")


def allocation_needs(options: AllocationOptions) -> Needs:
    """What the allocation looks at."""
    layers = {"content": "initial", "globalcom2": "final"}
    return Needs(full_image_layer=layers.get(options.allocation))  # type: ignore[arg-type]  # Names.


def allocate(evidence: Evidence, budget: Tensor, options: AllocationOptions) -> Tensor:
    """int64 [B, P] by the allocation asked for; not of `global`, which makes no shares."""
    capacities = evidence.capacities
    if options.allocation == "equal":
        return allocate_evenly(capacities, budget)
    attention = given(evidence.full_image_attention)
    if options.allocation == "content":
        scores = visual_content_score(attention, evidence.layout)
        return allocate_budget(scores, capacities, budget, options.alpha)
    assert options.allocation == "globalcom2", "the whole image is one group"
    return allocate_softly(attention, evidence, budget)


def allocate_softly(attention: Tensor, evidence: Evidence, budget: Tensor) -> Tensor:
    """int64 [B, P]: GlobalCom2's, made exact.

    The full-image is given a share R of its patches; sub-image j of k the share
    R (1 + sigma_j - 1 / k) of its own, sigma being the softmax over sub-images of

        S_j / tau,   S_j = sum_{i in j} mean_h logit_h(i)

    R is such that the shares add up to the budget: budget / patches, without padding. Logits of CLS
    attention are what the published code sums: sums of probabilities lie so close together that
    sigma would be even. The logarithm of a probability is its logit up to a constant, the same for
    all patches of the full-image, see `sub_image_logits`. Deviations: the feature layer's
    attention, not the one of the layer behind it; the budget is met exactly, by largest remainder,
    what is over going to partitions with room. Attention with a NaN or an infinity counts as even.

    Args:
        attention: float [B, H, N], of the full-image at the feature layer.
    """
    capacities = evidence.capacities
    count = (evidence.layout.num_partitions - 1).clamp(min=1)[:, None]
    score = sub_image_logits(attention, evidence) / TEMPERATURE
    sigma = score.softmax(-1)
    sigma = sigma.where(sigma.isfinite(), 1 / count)
    share = torch.ones_like(capacities, dtype=torch.float64)
    share[:, 1:] = 1 + sigma - 1 / count
    wanted = integer_weights(share.clamp(min=0) * capacities)
    return water_fill(wanted, capacities, torch.minimum(budget, capacities.sum(-1)))


def sub_image_logits(attention: Tensor, evidence: Evidence) -> Tensor:
    """float64 [B, P-1]: S_j up to a constant, the same for all; -inf where j has no patch.

    Sums are taken as if every sub-image had N / k patches of the full-image: padding leaves some
    with fewer, and the constant of the logarithm must fall out of the softmax. They are exact, of
    logarithms rounded to multiples of 2**-24.
    """
    layout = evidence.layout
    logits = (attention.double().clamp(min=_TINY).log() * _QUANTUM).round().sum(-2)
    total = logits.new_zeros(logits.shape[0], layout.valid.shape[1] - 1)
    if not total.shape[1]:
        return total
    index, real = layout.sub_image_of.clamp(min=0), layout.sub_image_of >= 0
    count = total.scatter_add(-1, index, real.to(total.dtype))
    total = total.scatter_add(-1, index, logits.where(real, 0))
    size = (real.sum(-1) / (layout.num_partitions - 1).clamp(min=1))[:, None]
    mean = total / (_QUANTUM * attention.shape[-2] * count.clamp(min=1))
    return (mean * size).masked_fill(count == 0, -torch.inf)


def allocate_all(evidence: Evidence, budget: Tensor, options: Any) -> Tensor:
    """Every valid token, whatever the budget: the dense model."""
    return evidence.capacities
