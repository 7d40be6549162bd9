"""How alike visual tokens are, and greedy choices that go by it.

Cosines are rounded to multiples of 2**-16, above the rounding of float32 matrix products, so that
equal tokens tie, and the lower index wins. Every choice is a loop over kept tokens, batched over
images and groups. Legend: ... images and groups, n tokens, C width.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

_QUANTUM: Final = 2.0**16


def cosines(features: Tensor, valid: Tensor | None = None, *, centred: bool = False) -> Tensor:
    """float32 [..., n, n]: cosine of every pair; 0 with a token that is all zeros.

    Args:
        features: [..., n, C].
        valid: bool [..., n]; needed to centre.
        centred: of differences to the mean of the valid tokens.
    """
    values = features.float()
    if centred:
        assert valid is not None, "the mean is of valid tokens"
        values = values - masked_mean(values, valid)[..., None, :]
    values = torch.nn.functional.normalize(values, dim=-1, eps=1e-12)
    found = values @ values.mT
    return found.mul_(_QUANTUM).round_().div_(_QUANTUM).clamp_(-1, 1)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """[..., C]: mean of the valid of [..., n, C]; zeros where none is."""
    inside = values.masked_fill(~valid[..., None], 0)  # Padding may hold anything, a NaN too.
    return inside.sum(-2) / valid.sum(-1, keepdim=True).clamp(min=1)


def stretched(scores: Tensor, valid: Tensor) -> Tensor:
    """[..., n]: min-max to 0..1 over the valid tokens; 0 elsewhere, and where all are equal."""
    low = scores.masked_fill(~valid, torch.inf).amin(-1, keepdim=True)
    high = scores.masked_fill(~valid, -torch.inf).amax(-1, keepdim=True)
    span = high - low
    found = (scores - low) / span.where(span > 0, torch.inf)
    return found.masked_fill(~valid, 0)


def one_hot(index: Tensor, size: int) -> Tensor:
    """bool [..., size] of int64 [...]."""
    return torch.arange(size, device=index.device) == index[..., None]


def best(scores: Tensor, open_: Tensor) -> Tensor:
    """int64 [...]: the highest of scores [..., n] that is open; the lower index of equals."""
    lowest = torch.finfo(scores.dtype).min
    clean = torch.nan_to_num(scores, nan=lowest, neginf=lowest)
    return clean.masked_fill(~open_, -torch.inf).argmax(-1)


def exact_rows(values: Tensor) -> Tensor:
    """float64 [...]: sums over the last dimension of multiples of 2**-16 in -1..1, exact.

    256 of them at a time, as many as float32 adds up without rounding.
    """
    parts = [part.sum(-1).double() for part in values.split(256, dim=-1)]
    return torch.stack(parts).sum(0)


def row_of(pairs: Tensor, index: Tensor) -> Tensor:
    """[..., n]: rows `index` [...] of [..., n, n]."""
    where = index[..., None, None].expand(*index.shape, 1, pairs.shape[-1])
    return pairs.gather(-2, where).squeeze(-2)


def farthest_first(
    similarity: Tensor, valid: Tensor, budgets: Tensor, most: int, weight: Tensor | None = None
) -> Tensor:
    """bool [..., n]: tokens as far from each other as can be, taken greedily.

    The first is the one whose nearest other is farthest, or with weights the heaviest; each next
    one is farthest from what is taken already, `weight_i * min_s (1 - similarity_is)`.

    Args:
        similarity: [..., n, n].
        weight: [..., n]; None: all alike.
    """
    size = valid.shape[-1]
    if weight is None:
        others = valid[..., None, :] & ~torch.eye(size, dtype=torch.bool, device=valid.device)
        score = 1 - similarity.masked_fill(~others, -torch.inf).amax(-1)
    else:
        score = weight
    nearest = torch.full_like(score, torch.inf)
    keep, open_ = torch.zeros_like(valid), valid.clone()
    for step in range(most):
        index = best(score, open_)
        taken = one_hot(index, size)
        keep |= taken & (step < budgets)[..., None] & open_
        open_ &= ~taken
        nearest = torch.minimum(nearest, 1 - row_of(similarity, index))
        score = nearest if weight is None else weight * nearest
    return keep
