"""LLaVA-Next (LLaVA-1.6): AnyRes grids, CLIP tower, two-layer projector, a newline after each row.

The visual content score (HiRED Eq. 1) is of the full-image's CLS attention at the initial layer,
the feature importance score (Eq. 2) of each partition's at the feature layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llava_next.modeling_llava_next import LlavaNextMultiModalProjector

from hired_core.geometry.anyres import AnyRes
from hired_core.geometry.canvas import Size
from hired_core.geometry.spec import ModelSpec
from hired_core.models.base import Family, check_image_processor, image_processor
from hired_core.models.checkpoint import CheckpointError, fill, iter_tensors
from hired_core.models.clip_tower import BICUBIC


class LlavaNext(Family):
    """`LlavaNextForConditionalGeneration`, on any decoder that transformers has for it."""

    name = "llava_next"
    num_separators = 1

    def geometry(self, folder: Path, config: Any) -> AnyRes:
        size, pinpoints = config.vision_config.image_size, _points(config.image_grid_pinpoints)
        if not pinpoints or any(h % size or w % size for h, w in pinpoints):
            raise CheckpointError(f"grid pinpoints {pinpoints} are no multiples of {size} pixels")
        wanted = {"resample": BICUBIC, "crop_size": {size}, "size": {size}}
        check_image_processor(image_processor(folder), wanted | {"image_grid_pinpoints": pinpoints})
        return AnyRes(
            pinpoints=pinpoints,
            partition_size=size,
            patch_size=config.vision_config.patch_size,
        )

    def make_projector(self, config: Any) -> nn.Module:
        return LlavaNextMultiModalProjector(config)  # type: ignore[no-any-return]  # transformers is untyped.

    def separators(self, folder: Path, spec: ModelSpec) -> Tensor:
        """[1, D], the newline."""
        holder = nn.ParameterDict({"image_newline": nn.Parameter(torch.empty(spec.text_width))})
        fill(holder, iter_tensors(folder, _newline_name), tied=set())
        newline: Tensor = holder["image_newline"].detach()
        return newline[None]

    def live_separators(self, model: Any) -> Tensor:
        newline: Tensor = model.model.image_newline.detach()
        return newline[None]


def _points(pinpoints: Any) -> tuple[Size, ...]:
    return tuple((int(height), int(width)) for height, width in pinpoints)


def _newline_name(name: str) -> str | None:
    return "image_newline" if name.removeprefix("model.") == "image_newline" else None


FAMILY = LlavaNext()
