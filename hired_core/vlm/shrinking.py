"""Partitions encoded at fewer pixels: resized, embedded and encoded side by side.

Sides are told by a method's `shrink` from geometry and budget alone, on the host, so that nothing
waits for the device. One call of the tower for each distinct side, of which there are as many as
kinds of grids in a micro-batch, and one more; what has a side of 0 is not encoded.

Legend: B images, P partitions, N = n x n visual tokens, M partitions of a micro-batch, K rows,
C width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hired_core.errors import SettingError
from hired_core.methods.base import Evidence, Method
from hired_core.methods.grid import centres
from hired_core.transfer import upload
from hired_core.vision.tower import VisionEncoder


@dataclass(frozen=True, kw_only=True)
class SmallFeatures:
    """Features of all small patches, and where they are.

    Attributes:
        features: [T, C], of whatever was encoded.
        index: int64 [B, P*N] on the host: for a patch that a small one stands for, its row.
    """

    features: Tensor
    index: Tensor

    def at(self, source: Tensor) -> Tensor:
        """[B, K, C], from int64 [B, K] into the flattened P*N, on the host."""
        return self.features[upload(self.index.gather(1, source), self.features.device)]


@dataclass(frozen=True, kw_only=True)
class Shrinker:
    """Encodes partitions at the sides that a method asks for."""

    method: Method
    options: Any
    vision: VisionEncoder
    token_size: int

    @classmethod
    def of(
        cls, method: Method, options: Any, vision: VisionEncoder, name: str, token_size: int
    ) -> Shrinker | None:
        """Of a method that asks for it, else None.

        Args:
            token_size: side of a visual token in pixels.

        Raises:
            SettingError: if the tower cannot; `name` is the method's.
        """
        if not method.shrinks:
            return None
        if vision.tower.embed_resized is None:
            raise SettingError(
                f"method: {name} encodes images at fewer pixels, and this model's vision tower "
                "takes only one size"
            )
        return cls(method=method, options=options, vision=vision, token_size=token_size)

    def encode(self, pixels: Tensor, evidence: Evidence, budget: Tensor) -> SmallFeatures:
        """Of uint8 [M, 3, S, S] on the tower's device; evidence and budget are on the host."""
        present, num_tokens = evidence.layout.present, evidence.layout.valid.shape[-1]
        side = round(num_tokens**0.5)
        wanted = self.method.shrink(evidence, budget, self.options)[present]
        index = torch.zeros(*present.shape, num_tokens, dtype=torch.int64)
        own = torch.zeros(len(wanted), num_tokens, dtype=torch.int64)
        found, begin = [], 0
        for small in wanted[wanted > 0].unique().tolist():
            where = (wanted == small).nonzero()[:, 0]
            found.append(self._features(pixels[upload(where, pixels.device)], small, side))
            own[where] = _index(small, side, len(where), begin)
            begin += len(found[-1])
        index[present] = own
        return SmallFeatures(features=torch.cat(found), index=index.flatten(1))

    def _features(self, pixels: Tensor, small: int, side: int) -> Tensor:
        """[M * small**2, C] of partitions at `small` instead of `side` tokens along a side."""
        resized = small != side
        if resized:
            pixels = resize(pixels, small * self.token_size)
        embedded = self.vision.embed(pixels, resized=resized)
        return self.vision.finish_all(self.vision.encode(embedded)).flatten(0, 1)


def resize(pixels: Tensor, size: int) -> Tensor:
    """uint8 [M, 3, size, size] from uint8 [M, 3, S, S], bicubic with antialiasing.

    Of partitions, squared and padded as they are: the file's own pixels are not at hand.
    """
    found = functional.interpolate(
        pixels.float(), size=(size, size), mode="bicubic", align_corners=False, antialias=True
    )
    return found.round_().clamp_(0, 255).to(torch.uint8)


def _index(small: int, side: int, count: int, begin: int) -> Tensor:
    """int64 [M, N] of `count` partitions whose features begin at row `begin`; 0 elsewhere."""
    middle = centres(torch.tensor(small), side)
    stands = (middle[:, None] & middle).flatten()
    index = torch.zeros(count, side**2, dtype=torch.int64)
    index[:, stands] = torch.arange(begin, begin + count * small**2).view(count, small**2)
    return index
