"""LLaVA-1.5: one square partition, CLIP tower, two-layer projector; no grid and no newline.

There is no full-image among others: HiRED gives the one partition the whole budget, and keeps its
tokens by the feature importance score (Eq. 2) alone (arXiv:2408.10945v3, single-image models).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from hired_core.geometry.square import Square
from hired_core.models.base import Family, check_image_processor, image_processor
from hired_core.models.towers.kind import BICUBIC


class Llava(Family):
    """`LlavaForConditionalGeneration`."""

    name = "llava"

    def geometry(self, folder: Path, config: Any) -> Square:
        size = config.vision_config.image_size
        wanted: dict[str, Any] = {"resample": BICUBIC, "crop_size": {size}, "size": {size}}
        check_image_processor(
            image_processor(folder), wanted | {"do_center_crop": True, "do_pad": False}
        )
        return Square(partition_size=size, patch_size=config.vision_config.patch_size)

    def make_projector(self, config: Any) -> nn.Module:
        return LlavaMultiModalProjector(config)  # type: ignore[no-any-return]  # transformers is untyped.


FAMILY = Llava()
