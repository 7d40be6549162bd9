"""From patches to visual tokens, where a token is r x r patches: the one place that knows how.

A token's score is the sum of its patches', its key their mean, its feature theirs side by side, in
raster order (pixel shuffle); what a family makes of that is its projector. Legend: M partitions,
H heads, n patches of a partition, N visual tokens, C width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PatchGroups:
    """How the patches of a square partition make up its visual tokens.

    Attributes:
        merge: r.
        adjacent: whether the tower emits the patches of a token one after the other, tokens in
            raster order; otherwise all patches come in raster order.
    """

    merge: int = 1
    adjacent: bool = False

    def patches_of(self, token: Tensor, num_patches: int) -> Tensor:
        """int64 [..., r*r]: the patches of these tokens, int64 [...]."""
        index = _index(num_patches, self.merge, self.adjacent, token.device)
        return index[token]

    def sums(self, scores: Tensor) -> Tensor:
        """float32 [M, H, N] of scores [M, H, n]; added up in float64, so that order is no matter"""
        if self.merge == 1:
            return scores
        return self._grouped(scores).double().sum(-1).float()

    def means(self, keys: Tensor) -> Tensor:
        """[M, N, C] of keys [M, n, C]."""
        if self.merge == 1:
            return keys
        return self._grouped(keys.transpose(1, 2)).mean(-1).transpose(1, 2)

    def joined(self, features: Tensor) -> Tensor:
        """[M, N, r*r*C] of features [M, n, C]."""
        if self.merge == 1:
            return features
        count = features.shape[1] // self.merge**2
        token = torch.arange(count, device=features.device)
        return features[:, self.patches_of(token, features.shape[1])].flatten(-2)

    def _grouped(self, values: Tensor) -> Tensor:
        """[..., N, r*r] of [..., n]."""
        count = values.shape[-1]
        index = _index(count, self.merge, self.adjacent, values.device)
        return values[..., index]


@lru_cache(maxsize=32)
def _index(num_patches: int, merge: int, adjacent: bool, device: torch.device) -> Tensor:
    """int64 [N, r*r]."""
    patch = torch.arange(num_patches, device=device)
    if adjacent:
        return patch.view(-1, merge**2)
    side = round(num_patches**0.5)
    cells = patch.view(side // merge, merge, side // merge, merge).transpose(1, 2)
    return cells.reshape(-1, merge**2)
