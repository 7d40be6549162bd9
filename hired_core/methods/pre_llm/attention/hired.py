"""HiRED, High-Resolution Early Dropping (arXiv:2408.10945v3, AAAI-25), made exact.

`alpha` of the budget goes to the full-image, the rest to sub-images by visual content score (Eq. 1,
CLS attention of the initial layer); of each partition those tokens are kept whose feature
importance score (Eq. 2, CLS attention of the feature layer) is highest. The options make the
choices of the paper's Table 5 otherwise. An image of one partition gives it the whole budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from hired_core.choices import Layer
from hired_core.errors import SettingError, require
from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.budget import allocate_budget
from hired_core.methods.pairing import PairedSelection
from hired_core.methods.scores import feature_importance_score, visual_content_score
from hired_core.methods.selection import select_tokens

Allocation = Literal["initial", "final", "even"]
Heads = Literal["sum", "none"]


@dataclass(frozen=True, kw_only=True)
class HiredOptions:
    """Of `hired`.

    Attributes:
        alpha: share of the budget for the full-image, 0 to 1.
        allocation: layer whose attention tells how many tokens each sub-image gets; "even": all
            have the same.
        dropping: layer whose attention tells which tokens of a partition are kept.
        heads: "sum", as the paper; "none": the first head's attention alone. The paper does not say
            what stands in for the sum; one head of many is what is left without it.
        skip_below: sub-images that would get fewer tokens are not encoded at all, and their share
            goes to the others; 0 encodes all.
    """

    alpha: float = 0.5
    allocation: Allocation = "initial"
    dropping: Layer = "final"
    heads: Heads = "sum"
    skip_below: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 1, "alpha", self.alpha, "0 to 1")
        for key, kind in (("allocation", Allocation), ("dropping", Layer), ("heads", Heads)):
            allowed = get_args(kind)
            require(getattr(self, key) in allowed, key, getattr(self, key), ", ".join(allowed))
        require(self.skip_below >= 0, "skip_below", self.skip_below, "0 or more")
        if self.skip_below and self.allocation == "final":
            raise SettingError("skip_below: allocation 'final' tells the shares too late to skip")


def needs(options: HiredOptions) -> Needs:
    shares = None if options.allocation == "even" else options.allocation
    return Needs(full_image_layer=shares, cls_layers=(options.dropping,))


def allocate(evidence: Evidence, budget: Tensor, options: HiredOptions) -> Tensor:
    """int64 [B, P]: `alpha` for the full-image, the rest by visual content score (Eq. 1)."""
    capacities = evidence.capacities
    if options.allocation == "even":
        scores = torch.zeros_like(capacities[:, 1:])
    else:
        attention = _heads(given(evidence.full_image_attention), options)
        scores = visual_content_score(attention, evidence.layout)
    return allocate_budget(scores, capacities, budget, options.alpha)


def select(evidence: Evidence, budgets: Tensor, options: HiredOptions) -> Tensor:
    """bool [B, P, N]: top tokens by feature importance score (Eq. 2)."""
    attention = _heads(evidence.attention[options.dropping], options)
    return select_tokens(feature_importance_score(attention), budgets, evidence.layout.valid)


def worthwhile(evidence: Evidence, budget: Tensor, options: HiredOptions) -> Tensor:
    """bool [B, P]: the full-image, and sub-images that would get `skip_below` tokens or more.

    The shares of the others grow by what these leave; through rounding a budget may still end one
    below `skip_below`.
    """
    enough = allocate(evidence, budget, options) >= options.skip_below
    enough[:, 0] = True
    return enough


def _heads(attention: Tensor, options: HiredOptions) -> Tensor:
    return attention if options.heads == "sum" else attention[..., :1, :]


METHOD: Final = PairedSelection(
    allocate=allocate,
    select=select,
    looks_at=needs,
    options=HiredOptions,
    worthwhile=worthwhile,
    wants_to_skip=lambda options: options.skip_below > 0,
)
