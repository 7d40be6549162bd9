"""InternViT: a CLS token, layer scale, in some sizes norms of queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from torch import Tensor, nn
from transformers import InternVLVisionModel

from hired_core.models.towers.kind import TowerKind


class InternVit(TowerKind):
    """`InternVLVisionModel`; squares of another size are told by the pixels."""

    kinds = ("internvl_vision",)
    has_cls = True
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def make(self, vision: Any, **how: Any) -> Any:
        return InternVLVisionModel._from_config(vision, **how)

    def embed(self, tower: Any, pixels: Tensor, *, resized: bool = False) -> Tensor:
        embedded: Tensor = tower.embeddings(pixels)
        return embedded

    def layers(self, tower: Any) -> list[Any]:
        return [_Layer(layer) for layer in tower.encoder.layer]

    def last_norm(self, tower: Any) -> Callable[[Tensor], Tensor] | None:
        """None of towers that pool by the mean: there it is no norm."""
        return None if isinstance(tower.layernorm, nn.Identity) else tower.layernorm


class _Scaled(nn.Module):
    """A module's output, channel by channel times a weight that the layer keeps."""

    def __init__(self, module: nn.Module, scale: nn.Parameter) -> None:
        super().__init__()
        self.module, self.scale = module, scale

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.scale * self.module(x)
        return scaled


class _Attention(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        own = layer.attention
        self.num_heads = own.num_heads
        self.q_proj = nn.Sequential(own.q_proj, own.q_norm)
        self.k_proj = nn.Sequential(own.k_proj, own.k_norm)
        self.v_proj = own.v_proj
        self.out_proj = _Scaled(own.projection_layer, layer.lambda_1)


class _Layer(nn.Module):
    """A layer by the names that `vision.encoder_layer` knows; its weights are the layer's own."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer_norm1, self.layer_norm2 = layer.layernorm_before, layer.layernorm_after
        self.self_attn = _Attention(layer)
        self.mlp = _Scaled(layer.mlp, layer.lambda_2)


INTERNVIT: Final = InternVit()
