"""LLaVA-OneVision: AnyRes grids up to 6 x 6, SigLIP without CLS, a newline after each row.

The attention that tokens receive stands for CLS attention: of the full-image at the initial layer
for the visual content score (HiRED Eq. 1), of each partition at the feature layer for the feature
importance score (Eq. 2). The unmodified model resizes the tokens of large images bilinearly
(`anyres_max_9`: above 1.1 ** 2 * 9 sub-images' tokens); so does a budget of 1. Any other budget
replaces that: tokens are chosen from all of the grid, none is a mixture of others. A fraction is
taken of the most tokens that the unmodified model sees.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn
from transformers.models.llava_onevision.modeling_llava_onevision import (
    LlavaOnevisionMultiModalProjector,
)

from hired_core.geometry.anyres import AnyRes
from hired_core.models.checkpoint import CheckpointError, check_image_processor, image_processor
from hired_core.models.newline import NewlineFamily, grid_points
from hired_core.models.towers.kind import BICUBIC
from hired_core.models.towers.siglip import SIGLIP


class LlavaOnevision(NewlineFamily):
    """`LlavaOnevisionForConditionalGeneration`, for single images."""

    name = "llava_onevision"
    tower = SIGLIP
    feature_strategy = "full"

    def geometry(self, folder: Path, config: Any) -> AnyRes:
        size = config.vision_config.image_size
        pinpoints = grid_points(config.image_grid_pinpoints, size)
        wanted = {"resample": BICUBIC, "size": {size}, "image_grid_pinpoints": pinpoints}
        check_image_processor(image_processor(folder), wanted)
        return AnyRes(
            pinpoints=pinpoints,
            partition_size=size,
            patch_size=config.vision_config.patch_size,
            most_sub_images=most_sub_images(config.vision_aspect_ratio),
        )

    def make_projector(self, config: Any) -> nn.Module:
        return LlavaOnevisionMultiModalProjector(config)  # type: ignore[no-any-return]  # transformers is untyped.


def most_sub_images(aspect_ratio: str) -> int:
    """9 of "anyres_max_9"."""
    found = re.fullmatch(r"anyres_max_(\d+)", aspect_ratio)
    if not found:
        raise CheckpointError(f"vision_aspect_ratio {aspect_ratio!r}, expected 'anyres_max_9'")
    return int(found[1])


FAMILY = LlavaOnevision()
