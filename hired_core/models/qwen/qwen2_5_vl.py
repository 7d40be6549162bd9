"""Qwen2.5-VL: as Qwen2-VL, with a tower most of whose layers see windows alone.

Attention that tells of importance is of the layers that see whole images: for the initial layer the
first of them, for any other the nearest (`PackedEncoder.index_of`).
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLPatchMerger,
)

from hired_core.models.checkpoint import CheckpointError
from hired_core.models.qwen import qwen_tower
from hired_core.models.qwen.qwen2_vl import Merger, Qwen2VL
from hired_core.vision.packed import PackedTower


class Qwen25VL(Qwen2VL):
    """`Qwen2_5_VLForConditionalGeneration`, images only."""

    name = "qwen2_5_vl"
    tower_class: Any = Qwen2_5_VisionTransformerPretrainedModel

    def check(self, config: Any) -> None:
        super().check(config)
        vision = config.vision_config
        if not set(vision.fullatt_block_indexes) & set(range(vision.depth)):
            raise CheckpointError("no layer of the vision tower sees the whole image")
        if vision.window_size % (vision.patch_size * vision.spatial_merge_size):
            raise CheckpointError(f"windows of {vision.window_size} pixels are no whole tokens")

    def make_projector(self, config: Any) -> nn.Module:
        vision = config.vision_config
        width = self.width(vision)
        merger = Qwen2_5_VLPatchMerger(vision.out_hidden_size, width, vision.spatial_merge_size)
        return Merger(merger, width)

    def width(self, vision: Any) -> int:
        return int(vision.hidden_size)

    def inner(self, vision: Any) -> int:
        return int(vision.intermediate_size)

    def shaped(self, found: PackedTower, config: Any) -> PackedTower:
        return qwen_tower.windowed(found, config)


FAMILY = Qwen25VL()
