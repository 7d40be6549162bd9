"""Token-selection methods behind one interface: how many per partition, then which.

A method is a pair of plain functions over `Evidence`: an allocator and a selector, each shown the
attention of one layer. They can be swapped freely; METHODS lists the pairs that have a name, and
`hired` makes the paper's variations. Shape letters: B images, P partitions
(padded to the batch's most), H heads, N patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from hired_core.choices import Allocation as Allocation
from hired_core.choices import Heads as Heads
from hired_core.choices import Layer
from hired_core.geometry.layout import LayoutBatch
from hired_core.methods import upstream
from hired_core.methods.budget import allocate_budget, allocate_evenly
from hired_core.methods.scores import feature_importance_score, visual_content_score
from hired_core.methods.selection import random_scores, select_stride, select_tokens


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a method may look at.

    Attributes:
        layout: geometry of the B images.
        seeds: int64 [B], derived from each image's content.
        full_image_attention: float [B, H, N], CLS attention of the full-image, at the layer that
            allocates.
        partition_attention: float [B, P, H, N], CLS attention at the layer that selects; arbitrary
            for partitions that are absent or were not encoded.
    """

    layout: LayoutBatch
    seeds: Tensor
    full_image_attention: Tensor | None = None
    partition_attention: Tensor | None = None

    @property
    def capacities(self) -> Tensor:
        """int64 [B, P]: valid patches."""
        return self.layout.valid.sum(-1)


Allocator = Callable[[Evidence, Tensor, float], Tensor]
"""(evidence, budget int64 [B], alpha) -> budgets int64 [B, P]."""

Selector = Callable[[Evidence, Tensor], Tensor]
"""(evidence, budgets int64 [B, P]) -> keep bool [B, P, N]."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named pair of allocator and selector.

    Attributes:
        allocates_by, selects_by: the layers whose attention the two look at. What nobody looks at
            is not computed.
        heads: whether attention is summed over heads, or not and the first head's is looked at.
        own_basis: the fraction is always of the image's own P*N (the published code).
        keeps_all: the budget has no say in it (the dense model).
    """

    allocate: Allocator
    select: Selector
    allocates_by: Layer | None = None
    selects_by: Layer | None = None
    heads: Heads = "sum"
    own_basis: bool = False
    keeps_all: bool = False

    def keep(self, evidence: Evidence, budget: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """(keep bool [B, P, N], budgets int64 [B, P]) for a budget of int64 [B] tokens."""
        budgets = self.allocate(evidence, budget, alpha)
        return self.select(evidence, budgets), budgets


def allocate_all(evidence: Evidence, budget: Tensor, alpha: float) -> Tensor:
    """Every valid token, whatever the budget: the dense model."""
    return evidence.capacities


def allocate_by_content(evidence: Evidence, budget: Tensor, alpha: float) -> Tensor:
    """HiRED: `alpha` for the full-image, the rest by visual content score (Eq. 1)."""
    scores = visual_content_score(_given(evidence.full_image_attention), evidence.layout)
    return allocate_budget(scores, evidence.capacities, budget, alpha)


def allocate_to_all_alike(evidence: Evidence, budget: Tensor, alpha: float) -> Tensor:
    """`alpha` for the full-image, the rest evenly for the sub-images: HiRED without Eq. 1."""
    capacities = evidence.capacities
    return allocate_budget(torch.zeros_like(capacities[:, 1:]), capacities, budget, alpha)


def allocate_equally(evidence: Evidence, budget: Tensor, alpha: float) -> Tensor:
    """The same for every partition, the full-image among them; `alpha` has no part in it."""
    return allocate_evenly(evidence.capacities, budget)


def allocate_worthwhile(
    allocate: Allocator, evidence: Evidence, budget: Tensor, alpha: float, least: int
) -> tuple[Evidence, Tensor]:
    """Budgets [B, P] without sub-images that would get fewer than `least` tokens.

    Such sub-images get none, and their share goes to the others as if these were all there is, so
    the sum is `min(budget, capacity of the others)`. Their exact shares grow; through rounding a
    budget may still end one below `least`. The full-image is never left out.

    Returns:
        The evidence, the patches of what was left out no longer valid in it, and the budgets.
    """
    worthwhile = allocate(evidence, budget, alpha) >= least
    worthwhile[:, 0] = True
    valid = evidence.layout.valid & worthwhile[..., None]
    evidence = replace(evidence, layout=replace(evidence.layout, valid=valid))
    return evidence, allocate(evidence, budget, alpha)


def allocate_upstream(evidence: Evidence, budget: Tensor, alpha: float) -> Tensor:
    """As the published HiRED code does; see `hired_core.methods.upstream`."""
    counts, most = evidence.layout.num_partitions, evidence.layout.valid.shape[1]
    attention = _given(evidence.full_image_attention)
    return upstream.allocate_budget(attention, counts, most, budget, alpha)


def select_all(evidence: Evidence, budgets: Tensor) -> Tensor:
    return evidence.layout.valid


def select_by_importance(evidence: Evidence, budgets: Tensor) -> Tensor:
    """Top tokens by feature importance score (Eq. 2)."""
    importance = feature_importance_score(_given(evidence.partition_attention))
    return select_tokens(importance, budgets, evidence.layout.valid)


def select_before_unpadding(evidence: Evidence, budgets: Tensor) -> Tensor:
    """Top tokens, padding among the candidates and lost afterwards: the published code."""
    importance = feature_importance_score(_given(evidence.partition_attention))
    candidates = evidence.layout.present[..., None].expand_as(evidence.layout.valid)
    return select_tokens(importance, budgets, candidates) & evidence.layout.valid


def select_by_stride(evidence: Evidence, budgets: Tensor) -> Tensor:
    return select_stride(budgets, evidence.layout.valid)


def select_at_random(evidence: Evidence, budgets: Tensor) -> Tensor:
    """Uniformly at random, by a generator seeded with the image's content."""
    _, partitions, patches = evidence.layout.valid.shape
    scores = random_scores(evidence.seeds, partitions, patches)
    return select_tokens(scores, budgets, evidence.layout.valid)


def _given(attention: Tensor | None) -> Tensor:
    assert attention is not None, "the vision stage was told not to compute attention"
    return attention


def hired(
    allocation: Allocation = "initial", dropping: Layer = "final", heads: Heads = "sum"
) -> Method:
    """The paper's method, or with a choice of its Table 5 made otherwise.

    Args:
        allocation: the layer that tells the sub-images' shares; "even": all have the same.
        dropping: the layer that tells which tokens of a partition are kept.
        heads: "none": both look at the first head alone. The paper does not say what stands in for
            the sum; one head of many is what is left without it.
    """
    even = allocation == "even"
    return Method(
        allocate=allocate_to_all_alike if even else allocate_by_content,
        select=select_by_importance,
        allocates_by=None if allocation == "even" else allocation,
        selects_by=dropping,
        heads=heads,
    )


METHODS: Final[dict[str, Method]] = {
    "dense": Method(allocate=allocate_all, select=select_all, keeps_all=True),
    "hired": hired(),
    "hired-upstream": Method(
        allocate=allocate_upstream,
        select=select_before_unpadding,
        allocates_by="initial",
        selects_by="final",
        own_basis=True,
    ),
    "uniform": Method(allocate=allocate_equally, select=select_by_importance, selects_by="final"),
    "stride": Method(allocate=allocate_equally, select=select_by_stride),
    "random": Method(allocate=allocate_equally, select=select_at_random),
}
"""`uniform`, `stride` and `random` are the sanity floor any allocation has to beat."""
