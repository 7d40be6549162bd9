"""LLaVA-Next (LLaVA-1.6): AnyRes grids, CLIP tower, two-layer projector, a newline after each row.

The visual content score (HiRED Eq. 1) is of the full-image's CLS attention at the initial layer,
the feature importance score (Eq. 2) of each partition's at the feature layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers.models.llava_next.modeling_llava_next import LlavaNextMultiModalProjector

from hired_core.geometry.anyres import AnyRes
from hired_core.models.checkpoint import check_image_processor
from hired_core.models.newline import NewlineFamily, grid_points
from hired_core.models.original.family import OriginalFormat
from hired_core.models.towers.kind import BICUBIC


class LlavaNext(OriginalFormat, NewlineFamily):
    """`LlavaNextForConditionalGeneration`, on any decoder that transformers has for it."""

    name = "llava_next"

    def geometry(self, folder: Path, config: Any) -> AnyRes:
        size = config.vision_config.image_size
        pinpoints = grid_points(config.image_grid_pinpoints, size)
        wanted = {"resample": BICUBIC, "crop_size": {size}, "size": {size}}
        image = self.image_processor(folder)
        check_image_processor(image, wanted | {"image_grid_pinpoints": pinpoints})
        return AnyRes(
            pinpoints=pinpoints,
            partition_size=size,
            patch_size=config.vision_config.patch_size,
        )

    def make_projector(self, config: Any) -> nn.Module:
        return LlavaNextMultiModalProjector(config)  # type: ignore[no-any-return]  # transformers is untyped.


FAMILY = LlavaNext()
