"""Qwen3-VL: native resolution; features of several tower layers enter the first decoder layers.

As Qwen2-VL, but for learned positions, resized to each image's grid; for a decoder whose three
positions take turns among frequencies; and for deepstack: a row is its features of the last layer
and, beside them, of each layer that is tapped. What is kept, or summed, is so of all of them alike;
methods compare those of the last layer. A sum of rows inside the language model has none to add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionModel,
    Qwen3VLVisionPatchMerger,
)
from transformers.vision_utils import get_vision_interpolation_indices_and_weights

from hired_core.geometry.canvas import Size
from hired_core.models.checkpoint import CheckpointError
from hired_core.models.qwen import qwen_tower
from hired_core.models.qwen.qwen2_vl import Qwen2VL
from hired_core.transfer import upload
from hired_core.vision.packed import PackedTower


class Qwen3VL(Qwen2VL):
    """`Qwen3VLForConditionalGeneration`, images only."""

    name = "qwen3_vl"
    tower_class: Any = Qwen3VLVisionModel

    def check(self, config: Any) -> None:
        super().check(config)
        taps, vision = list(config.vision_config.deepstack_visual_indexes), config.vision_config
        if taps != sorted(set(taps)) or not set(taps) <= set(range(vision.depth)):
            raise CheckpointError(f"deepstack_visual_indexes {taps} are no layers in order")
        if len(taps) > config.text_config.num_hidden_layers:
            raise CheckpointError(f"{len(taps)} deepstack features, and fewer decoder layers")

    def make_projector(self, config: Any) -> nn.Module:
        return DeepMerger(config.vision_config)

    def width(self, vision: Any) -> int:
        return int(vision.hidden_size)

    def inner(self, vision: Any) -> int:
        return int(vision.intermediate_size)

    def num_taps(self, config: Any) -> int:
        return len(config.vision_config.deepstack_visual_indexes)

    def shaped(self, found: PackedTower, config: Any) -> PackedTower:
        return replace(found, taps=tuple(config.vision_config.deepstack_visual_indexes))

    def embedding(self, visual: Any) -> qwen_tower.Embed:
        plain = super().embedding(visual)

        def embed(patches: Tensor, grids: Sequence[Size]) -> Tensor:
            shapes = torch.tensor([[1, rows, cols] for rows, cols in grids])
            index, weight = get_vision_interpolation_indices_and_weights(
                shapes,
                num_grid_per_side=visual.num_grid_per_side,
                mode=visual.interpolation_mode,
                align_corners=visual.interpolation_align_corners,
                spatial_merge_size=visual.spatial_merge_size,
            )
            index, weight = (upload(each, patches.device) for each in (index, weight))
            learned: Tensor = (visual.pos_embed(index) * weight[:, :, None]).sum(1)
            return plain(patches, grids) + learned.to(patches.dtype)

        return embed


class DeepMerger(nn.Module):
    """From [..., (1 + taps) r r C] to [..., (1 + taps) D]: each part by a merger of its own."""

    def __init__(self, vision: Any) -> None:
        super().__init__()
        self.merger = Qwen3VLVisionPatchMerger(config=vision)
        self.deepstack_merger_list = nn.ModuleList(
            Qwen3VLVisionPatchMerger(config=vision, use_postshuffle_norm=True)
            for _ in vision.deepstack_visual_indexes
        )
        self._width = int(vision.hidden_size)

    def forward(self, features: Tensor) -> Tensor:
        mergers = [self.merger, *self.deepstack_merger_list]
        parts = features.chunk(len(mergers), dim=-1)
        return torch.cat([self._merged(m, p) for m, p in zip(mergers, parts, strict=True)], dim=-1)

    def _merged(self, merger: nn.Module, part: Tensor) -> Tensor:
        merged: Tensor = merger(part.reshape(-1, self._width))
        return merged.view(*part.shape[:-1], -1)


FAMILY = Qwen3VL()
