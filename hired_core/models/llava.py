"""LLaVA-1.5: one square partition, CLIP tower, two-layer projector; no grid and no newline.

There is no full-image among others: HiRED gives the one partition the whole budget, and keeps its
tokens by the feature importance score (Eq. 2) alone (arXiv:2408.10945v3, single-image models).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from hired_core.geometry.square import Colour, Square
from hired_core.models.checkpoint import check_image_processor
from hired_core.models.original.family import OriginalFormat
from hired_core.models.towers.kind import BICUBIC


class Llava(OriginalFormat):
    """`LlavaForConditionalGeneration`."""

    name = "llava"

    def geometry(self, folder: Path, config: Any) -> Square:
        size = config.vision_config.image_size
        wanted: dict[str, Any] = {"resample": BICUBIC, "crop_size": {size}, "size": {size}}
        image = self.image_processor(folder)
        check_image_processor(image, wanted | {"do_center_crop": True})
        return Square(
            partition_size=size,
            patch_size=config.vision_config.patch_size,
            pad=self._mean_colour(image) if image.get("do_pad") else None,
        )

    def _mean_colour(self, image: dict[str, Any]) -> Colour:
        """As transformers and LLaVA's own code round it, which is down."""
        red, green, blue = (int(255 * value) for value in self.tower.normalisation(image)[0])
        return red, green, blue

    def make_projector(self, config: Any) -> nn.Module:
        return LlavaMultiModalProjector(config)  # type: ignore[no-any-return]  # transformers is untyped.


FAMILY = Llava()
