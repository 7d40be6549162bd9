"""CLIP vision towers."""

from __future__ import annotations

from typing import Any, Final

from torch import Tensor
from transformers import CLIPVisionModel

from hired_core.models.towers.kind import TowerKind, without
from hired_core.vision.encoder_layer import QuickGELU


class Clip(TowerKind):
    """`CLIPVisionModel`: a CLS token; a norm before the first layer."""

    kinds = ("clip_vision_model",)
    has_cls = True
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)

    def make(self, vision: Any, **how: Any) -> Any:
        tower = self.inner(CLIPVisionModel._from_config(vision, **how))
        if vision.hidden_act == "quick_gelu":
            for layer in tower.encoder.layers:
                layer.mlp.activation_fn = QuickGELU()
        # That norm is of the pooled output only, which is not used.
        return without(tower, "post_layernorm")

    def embed(self, tower: Any, pixels: Tensor, *, resized: bool = False) -> Tensor:
        how = {"interpolate_pos_encoding": True} if resized else {}
        embedded: Tensor = tower.pre_layrnorm(tower.embeddings(pixels, **how))
        return embedded

    def inner(self, tower: Any) -> Any:
        return getattr(tower, "vision_model", tower)


CLIP: Final = Clip()
