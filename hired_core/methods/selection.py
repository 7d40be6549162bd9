"""Which tokens of a partition are kept, and in which order they reach the language model."""

from __future__ import annotations

import torch
from torch import Tensor

from hired_core.methods.budget import descending_rank


def select_tokens(importance: Tensor, budgets: Tensor, valid: Tensor) -> Tensor:
    """The `budgets[p]` most important valid tokens of each partition; Algorithm 1, lines 10-15.

    Equal scores keep the lower index; a NaN counts as minus infinity. A budget above the number of
    valid tokens keeps them all.

    Args:
        importance: float [..., P, N].
        budgets: int64 [..., P], >= 0.
        valid: bool [..., P, N].

    Returns:
        bool [..., P, N], a subset of `valid`.
    """
    order = by_importance(importance, valid)
    index = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(-1, order, index)
    return (rank < budgets[..., None]) & valid


def by_importance(importance: Tensor, valid: Tensor) -> Tensor:
    """int64 [..., N]: the valid tokens, most important first, then the others; see above."""
    # Minus infinity is left to padding: a valid token, whatever its score, comes before it.
    lowest = torch.finfo(importance.dtype).min
    score = torch.nan_to_num(importance, nan=lowest, posinf=torch.inf, neginf=lowest)
    return score.where(valid, -torch.inf).argsort(dim=-1, descending=True, stable=True)


def select_stride(budgets: Tensor, valid: Tensor) -> Tensor:
    """`budgets[p]` valid tokens of each partition at even strides: floor((j + 1/2) n / m).

    Counts in n valid tokens, m of them kept; exact, unlike the published "spatial" baseline.
    """
    count = valid.sum(-1, keepdim=True)
    kept = torch.minimum(budgets[..., None], count)
    position = valid.long().cumsum(-1) - 1
    upto = _strides_upto(position, kept, count)
    return valid & (upto > _strides_upto(position - 1, kept, count))


def _strides_upto(position: Tensor, kept: Tensor, count: Tensor) -> Tensor:
    """How many j have floor((j + 1/2) count / kept) <= position."""
    doubled = 2 * (position + 1) * kept - count
    bound = -((-doubled) // (2 * count.clamp(min=1)))
    return torch.minimum(bound.clamp(min=0), kept)


def gather_places(keep: Tensor, place: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Flat indices of kept tokens in the order of their places, padded to `size`; no device sync.

    Args:
        keep: bool [B, P, N].
        place: int64 [B, P, N], a permutation per image.
        size: tokens per image in the result; at least the most any image keeps.

    Returns:
        index: int64 [B, size] into the flattened P*N; padding is 0.
        count: int64 [B], how many entries of each row are real.
    """
    flat_keep, flat_place = keep.flatten(1), place.flatten(1)
    patch = torch.arange(flat_place.shape[1], device=place.device).expand_as(flat_place)
    at = torch.empty_like(flat_place).scatter_(1, flat_place, patch)
    kept = flat_keep.gather(1, at)
    # What is not kept goes to a place of its own behind the others.
    target = torch.where(kept, kept.cumsum(1) - 1, size)
    index = at.new_zeros(at.shape[0], size + 1).scatter_(1, target, at)
    return index[:, :size], kept.sum(-1)


def random_scores(seeds: Tensor, num_partitions: int, num_patches: int) -> Tensor:
    """float64 [B, P, N] in [0, 1): a fixed function of (seed, partition, patch).

    Counter-based (the splitmix64 finaliser), so that an image's scores depend neither on its
    batch nor on the device.

    Args:
        seeds: int64 [B], one per image, derived from its content.
    """
    counter = torch.arange(num_partitions * num_patches, device=seeds.device)
    return uniform(seeds[:, None], counter).view(seeds.shape[0], num_partitions, num_patches)


def uniform(seeds: Tensor, counter: Tensor) -> Tensor:
    """float64 in [0, 1), of the shape both broadcast to: a fixed function of the two int64."""
    state = seeds + (counter + 1) * -0x61C8864680B583EB
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        state = (state ^ _shift_right(state, shift)) * factor
    state = state ^ _shift_right(state, 31)
    return _shift_right(state, 11).double() / 2**53


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Logical shift of int64: torch's own keeps the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


__all__ = [
    "by_importance",
    "descending_rank",
    "gather_places",
    "random_scores",
    "select_stride",
    "select_tokens",
    "uniform",
]
