"""The vision stage of the model: uint8 partitions in, features and CLS attention out.

The tower runs up to the feature layer and no further, with scaled-dot-product attention; the CLS
rows HiRED needs are computed inline before the two layers concerned, so no attention map is ever
stored. Legend: M partitions (of any number of images), T tokens, N patches, C width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from hired_core.attention import cls_attention, received_attention

MICRO_BATCH: Final = 64
"""Partitions that go through the tower at once."""


@dataclass(frozen=True, kw_only=True)
class VisionTower:
    """What `VisionEncoder` needs of a tower; adapters in `hired_core.models` build it.

    Attributes:
        embed: normalised pixels [M, 3, S, S] -> hidden states [M, T, C] entering layer 0.
        layers: encoder layers, only those up to the feature layer.
        has_cls: whether token 0 is a CLS token.
        mean, std: of the pixel normalisation, per channel, for pixels in [0, 1].
    """

    embed: Callable[[Tensor], Tensor]
    layers: list[Any]
    has_cls: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, kw_only=True)
class VisionOutput:
    """Of M partitions: features [M, N, C]; attention float32 [M, H, N], None if not asked for."""

    features: Tensor
    initial_attention: Tensor | None
    final_attention: Tensor | None


class VisionEncoder:
    """Encodes partitions in micro-batches of at most `micro_batch`."""

    def __init__(self, tower: VisionTower, *, micro_batch: int = MICRO_BATCH) -> None:
        self.tower = tower
        self.micro_batch = micro_batch
        self._attention = cls_attention if tower.has_cls else received_attention
        self._mean = torch.tensor(tower.mean, device=tower.device)[:, None, None]
        self._std = torch.tensor(tower.std, device=tower.device)[:, None, None]

    @torch.inference_mode()
    def encode(self, partitions: Tensor, *, with_attention: bool = True) -> VisionOutput:
        """Features at the feature layer and the attention of the initial and the final layer.

        Args:
            partitions: uint8 [M, 3, S, S].
            with_attention: False skips the two CLS rows, for methods that look at no attention.
        """
        chunks = [self._encode(c, with_attention) for c in partitions.split(self.micro_batch)]
        features, initial, final = zip(*chunks, strict=True)
        return VisionOutput(
            features=torch.cat(features),
            initial_attention=torch.cat(initial) if with_attention else None,
            final_attention=torch.cat(final) if with_attention else None,
        )

    def _encode(self, partitions: Tensor, with_attention: bool) -> tuple[Tensor, Any, Any]:
        hidden = self.tower.embed(self._normalise(partitions))
        last = len(self.tower.layers) - 1
        initial = final = None
        for index, layer in enumerate(self.tower.layers):
            if with_attention and index == 0:
                initial = self._attention(layer, hidden)
            if with_attention and index == last:
                final = initial if last == 0 else self._attention(layer, hidden)
            hidden = layer(hidden, attention_mask=None)
        return hidden[:, 1:] if self.tower.has_cls else hidden, initial, final

    def _normalise(self, partitions: Tensor) -> Tensor:
        pixels = partitions.to(self.tower.device, non_blocking=True).float() * (1 / 255)
        return ((pixels - self._mean) / self._std).to(self.tower.dtype)
