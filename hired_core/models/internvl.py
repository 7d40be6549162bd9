"""InternVL (2.5, 3, 3.5 in transformers' format): tiles by aspect ratio, InternViT, pixel shuffle.

A visual token is 2 x 2 patches, its score the sum of theirs. The thumbnail, which comes last and
only with more than one tile, is HiRED's full-image: its CLS attention at the initial layer makes
the visual content score (Eq. 1), each partition's at the feature layer the feature importance score
(Eq. 2). All tokens stand between one `<img>` and one `</img>`, which are counted as prompt tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers.models.internvl.modeling_internvl import InternVLMultiModalProjector

from hired_core.geometry.aspect_tiles import AspectTiles
from hired_core.geometry.spec import ModelSpec
from hired_core.models import text
from hired_core.models.base import Family
from hired_core.models.checkpoint import CheckpointError, check_image_processor, image_processor
from hired_core.models.towers.internvit import INTERNVIT
from hired_core.models.towers.kind import BICUBIC, one_of


class InternVl(Family):
    """`InternVLForConditionalGeneration`, on any decoder that transformers has for it."""

    name = "internvl"
    tower = INTERNVIT

    def check(self, config: Any) -> None:
        super().check(config)
        if config.vision_feature_layer != -1 and not config.vision_config.use_mean_pooling:
            raise CheckpointError("only the last vision layer is supported behind a last norm")

    def geometry(self, folder: Path, config: Any) -> AspectTiles:
        vision, image = config.vision_config, image_processor(folder)
        size, merge = one_of(vision.image_size), round(1 / config.downsample_ratio)
        if size // one_of(vision.patch_size) % merge:
            raise CheckpointError(f"{size} pixels hold no whole tokens of {merge} patches a side")
        check_image_processor(image, {"resample": BICUBIC, "size": {size}})
        return AspectTiles(
            partition_size=size,
            patch_size=one_of(vision.patch_size),
            merge=merge,
            min_tiles=image.get("min_patches", 1),
            max_tiles=image.get("max_patches", 12),
        )

    def make_projector(self, config: Any) -> nn.Module:
        return InternVLMultiModalProjector(config)  # type: ignore[no-any-return]  # transformers is untyped.

    def num_separators(self, spec: ModelSpec) -> int:
        return 2

    def separators(self, spec: ModelSpec, decoder: Any, tokenizer: Any) -> Tensor:
        """[2, D]: before and behind an image."""
        words = [
            getattr(tokenizer, name, None) or otherwise
            for name, otherwise in (("start_image_token", "<img>"), ("end_image_token", "</img>"))
        ]
        return text.embeddings_of(words, decoder, tokenizer)


FAMILY = InternVl()
