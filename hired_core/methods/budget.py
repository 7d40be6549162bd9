"""From what the user asked for to a count, and from a count to one budget per partition.

All arithmetic is on integers, for any number of images at once, without a device sync.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hired_core.choices import BudgetBasis as BudgetBasis

_WEIGHT_ONE = 2**30
_DECIMAL_SLACK = 1e-9


def token_budget_to_count(
    token_budget: float, *, nominal: int, own: int, basis: BudgetBasis = "model"
) -> int | None:
    """Number of visual tokens to keep; None for the dense model.

    Args:
        token_budget: 0 < x < 1 is a fraction, 1 is dense, an integer above 1 is a count.
        nominal: the model's largest P*N (2880 for LLaVA-Next): what a fraction is taken of.
        own: this image's own P*N, the base under `basis="image"`.

    Raises:
        ValueError: if `token_budget` is not positive, or above 1 and not whole.
    """
    if not token_budget > 0 or not math.isfinite(token_budget):
        raise ValueError(f"a token budget must be positive, got {token_budget}")
    if token_budget == 1:
        return None
    if token_budget > 1:
        if token_budget != int(token_budget):
            raise ValueError(f"a token budget above 1 is a count, got {token_budget}")
        return int(token_budget)
    base = nominal if basis == "model" else own
    return max(1, math.floor(token_budget * base + _DECIMAL_SLACK))


def allocate_budget(
    scores: Tensor, capacities: Tensor, budget: Tensor | int, alpha: float
) -> Tensor:
    """Budget of each partition; HiRED Algorithm 1, lines 2-9, made exact.

    The full-image gets `floor(alpha * budget)`, capped. The rest is shared by score with the
    largest remainder (ties to the lower index), capped by capacity; the excess is shared among the
    sub-images that have room, again by score; what still remains goes to the full-image. Sub-images
    with room but no score share evenly once those with a score are full. Scores that are all zero,
    or hold a NaN or an infinity, count as equal.

    Unlike the published code nothing is lost: `result.sum() == min(budget, capacities.sum())`.

    Args:
        scores: float [..., P-1], non-negative visual content scores of the sub-images.
        capacities: int64 [..., P], patches that may be kept; 0 for absent partitions.
        budget: int64 [...] or one int, >= 0.
        alpha: share of the budget for the full-image, in [0, 1].

    Returns:
        int64 [..., P].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    wanted = torch.as_tensor(budget, device=capacities.device).expand(capacities.shape[:-1])
    total = torch.minimum(wanted, capacities.sum(-1))
    full_room, sub_room = capacities[..., 0], capacities[..., 1:]
    full = torch.minimum(torch.minimum(floor_count(alpha * wanted.double()), full_room), total)
    subs = water_fill(integer_weights(scores), sub_room, total - full)
    full = total - subs.sum(-1)
    return torch.cat([full[..., None], subs], dim=-1)


def allocate_evenly(capacities: Tensor, budget: Tensor) -> Tensor:
    """Equal budgets for all partitions, capped, the excess shared among those with room.

    Args:
        capacities: int64 [..., P].
        budget: int64 [...].
    """
    total = torch.minimum(budget, capacities.sum(-1))
    return water_fill(torch.zeros_like(capacities), capacities, total)


def integer_weights(scores: Tensor) -> Tensor:
    """int64 [..., P-1] in [0, 2**31], proportional to `scores`; all zero if any is not finite.

    Scaled by a power of two, so that scores in a simple ratio keep it: 3:2:1 shared by 3 is a tie.
    """
    usable = torch.isfinite(scores).all(-1, keepdim=True)
    clean = torch.where(usable, scores, 0.0).double().clamp(min=0)
    largest = clean.amax(-1, keepdim=True) if clean.shape[-1] else clean
    mantissa, _ = torch.frexp(largest)
    power = (largest / (2 * mantissa)).where(largest > 0, largest.new_ones(()))
    return (clean / power * _WEIGHT_ONE).round().long()


def water_fill(weights: Tensor, room: Tensor, total: Tensor) -> Tensor:
    """int64 [..., Q]: `total` shared by weight, none above its room; sums to what fits.

    Each round shares what is left among the open cells by largest remainder and caps; every round
    but the last fills a cell, so Q rounds are enough.
    """
    given = torch.zeros_like(room)
    for _ in range(room.shape[-1]):
        left = total - given.sum(-1)
        is_open = given < room
        weight = torch.where(is_open, weights, 0)
        has_weight = weight.any(-1, keepdim=True)
        weight = torch.where(has_weight, weight, is_open.long())
        given = torch.minimum(given + largest_remainder(weight, left), room)
    return given


def largest_remainder(weights: Tensor, total: Tensor) -> Tensor:
    """int64 [..., Q] summing to `total` (0 where all weights are): the Hamilton apportionment.

    Ties between remainders go to the lower index.
    """
    weight_sum = weights.sum(-1, keepdim=True)
    divisor = weight_sum.clamp(min=1)
    scaled = weights * total[..., None]
    quota, remainder = scaled // divisor, scaled % divisor
    missing = torch.where(weight_sum > 0, (total[..., None] - quota.sum(-1, keepdim=True)), 0)
    rank = descending_rank(remainder)
    return quota + (rank < missing).long()


def descending_rank(values: Tensor) -> Tensor:
    """int64, same shape: 0 for the largest along the last dimension; ties by lower index."""
    order = values.argsort(dim=-1, descending=True, stable=True)
    index = torch.arange(values.shape[-1], device=values.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, index)


def floor_count(value: Tensor) -> Tensor:
    """Floor to int64, forgiving the last bits of a decimal fraction: .29 * 100 is 29."""
    return (value + _DECIMAL_SLACK).floor().long()
