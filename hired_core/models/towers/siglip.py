"""SigLIP vision towers: no CLS token, so received attention stands for CLS attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AutoModel, SiglipVisionModel

from hired_core.models.towers.kind import TowerKind, one_of, without


class Siglip(TowerKind):
    """`SiglipVisionModel`, of which layers' outputs are used as they are."""

    kinds = ("siglip_vision_model",)
    has_cls = False
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def make(self, vision: Any, **how: Any) -> Any:
        vision.vision_use_head = False
        tower = self.inner(SiglipVisionModel._from_config(vision, **how))
        return without(tower, "post_layernorm", "head")

    def embed(self, tower: Any, pixels: Tensor, *, resized: bool = False) -> Tensor:
        embedded: Tensor = tower.embeddings(pixels, interpolate_pos_encoding=resized)
        return embedded

    def inner(self, tower: Any) -> Any:
        return getattr(tower, "vision_model", tower)


class NativeSiglip(TowerKind):
    """SigLIP of Idefics3 and SmolVLM: positions by share of the image, a norm at the end."""

    kinds = ("idefics3_vision", "smolvlm_vision")
    has_cls = False
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def make(self, vision: Any, **how: Any) -> Any:
        return AutoModel.from_config(vision, **how)

    def embed(self, tower: Any, pixels: Tensor, *, resized: bool = False) -> Tensor:
        side = pixels.shape[-1] // one_of(tower.patch_size)
        mask = torch.ones(len(pixels), side, side, dtype=torch.bool, device=pixels.device)
        embedded: Tensor = tower.embeddings(pixel_values=pixels, patch_attention_mask=mask)
        return embedded

    def last_norm(self, tower: Any) -> Callable[[Tensor], Tensor] | None:
        norm: Callable[[Tensor], Tensor] = tower.post_layernorm
        return norm


SIGLIP: Final = Siglip()
NATIVE_SIGLIP: Final = NativeSiglip()
