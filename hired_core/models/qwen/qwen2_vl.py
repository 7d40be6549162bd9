"""Qwen2-VL: native resolution, a tower without CLS token, 2 x 2 patches to a visual token, M-RoPE.

There is no full-image and no CLS. What stands for HiRED's equations: the visual content score
(Eq. 1) of a cell (`hired_core.geometry.native`) is the share of attention that its own tokens
receive at the initial layer, over that of all cells; the feature importance score (Eq. 2) of a
token is the attention that its patches receive at the last layer, summed. `alpha` has nothing to
give to, so that cells share the whole budget. A token's key is the mean of its patches' before they
are rotated. Kept tokens keep their positions of row and column, and the text after the image begins
where it does in the unmodified model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    PatchMerger,
    Qwen2VisionTransformerPretrainedModel,
)

from hired_core.choices import WeightFormat
from hired_core.errors import SettingError, require
from hired_core.geometry.native import Native
from hired_core.geometry.spec import ModelSpec
from hired_core.models import text
from hired_core.models.base import Family
from hired_core.models.checkpoint import (
    CheckpointError,
    check_image_processor,
    fill,
    image_processor,
    iter_tensors,
    part,
)
from hired_core.models.qwen import qwen_tower
from hired_core.models.qwen.visual_decoder import VisualDecoder
from hired_core.models.towers.clip import CLIP
from hired_core.models.towers.kind import BICUBIC
from hired_core.models.weights import Weights, filled, home_of
from hired_core.vision.packed import PackedTower

DEFAULT_MIN_PIXELS: Final = 56 * 56
DEFAULT_MAX_PIXELS: Final = 28 * 28 * 1280
"""Of transformers' image processor, where the checkpoint says nothing."""


class Qwen2VL(Family):
    """`Qwen2VLForConditionalGeneration`, images only."""

    name = "qwen2_vl"
    tower_class: Any = Qwen2VisionTransformerPretrainedModel

    def check(self, config: Any) -> None:
        vision, wanted = config.vision_config, f"{self.name}_vision"
        if vision.model_type != wanted:
            raise CheckpointError(f"the vision tower is {vision.model_type}, expected {wanted}")
        if vision.in_channels != 3:
            raise CheckpointError(f"the vision tower takes {vision.in_channels} channels, not 3")

    def geometry(self, folder: Path, config: Any) -> Native:
        vision = config.vision_config
        # Newer files write what is not set as null.
        stored = image_processor(folder).items()
        image = {key: value for key, value in stored if value is not None}
        wanted = {
            "patch_size": vision.patch_size,
            "merge_size": vision.spatial_merge_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "resample": BICUBIC,
            "do_resize": True,
        }
        check_image_processor(image, wanted)
        least, most = pixel_limits(image)
        return Native(
            patch_size=vision.patch_size,
            merge=vision.spatial_merge_size,
            min_pixels=least,
            max_pixels=most,
        )

    def with_options(self, geometry: Any, options: Mapping[str, Any]) -> Native:
        """`min_pixels` and `max_pixels`, instead of the checkpoint's own."""
        found: Native = geometry
        for key, value in options.items():
            if key not in ("min_pixels", "max_pixels"):
                raise SettingError(
                    f"image_options: {key} is none of {self.name}; it has min_pixels, max_pixels"
                )
            whole = isinstance(value, int) and not isinstance(value, bool)
            require(
                whole and value > 0, f"image_options: {key}", value, "a whole number, 1 or more"
            )
            found = replace(found, **{key: value})
        least = found.token_size**2
        require(found.max_pixels >= least, "image_options: max_pixels", found.max_pixels,
                f"{least} or more, one visual token")  # fmt: skip
        require(found.min_pixels <= found.max_pixels, "image_options: min_pixels", found.min_pixels,
                f"no more than max_pixels, {found.max_pixels}")  # fmt: skip
        return found

    def make_projector(self, config: Any) -> nn.Module:
        vision = config.vision_config
        merger = PatchMerger(vision.hidden_size, self.width(vision), vision.spatial_merge_size)
        return Merger(merger, self.width(vision))

    def width(self, vision: Any) -> int:
        """C of the tower."""
        return int(vision.embed_dim)

    def inner(self, vision: Any) -> int:
        """Width of the tower's MLP."""
        return int(vision.embed_dim * vision.mlp_ratio)

    def spec(self, folder: Path, name: str, options: Mapping[str, Any] | None = None) -> ModelSpec:
        config = self.config(folder)
        vision = config.vision_config
        dtype = config.dtype or config.text_config.dtype or torch.float16
        mean, std = CLIP.normalisation(image_processor(folder))
        return ModelSpec(
            name=name,
            path=str(folder),
            family=self.name,
            geometry=self.with_options(self.geometry(folder, config), options or {}),
            has_cls=False,
            num_taps=self.num_taps(config),
            feature_layer=vision.depth - 1,
            vision_width=self.width(vision),
            vision_inner=self.inner(vision),
            vision_params=qwen_tower.weights(self.tower_class, config).total,
            mean=mean,
            std=std,
            stored_dtype=str(dtype).removeprefix("torch."),
            **text.spec_fields(config.text_config, projector_params=self._projector_count(config)),
        )

    def weights(self, spec: ModelSpec) -> tuple[Weights, Weights]:
        config = self.config(Path(spec.path))
        with torch.device("meta"):
            decoder = VisualDecoder._from_config(config.text_config)
        decoder.tie_weights()
        language = Weights.of(decoder).plus(self._projector_count(config))
        return qwen_tower.weights(self.tower_class, config), language

    def load_vision(
        self,
        spec: ModelSpec,
        *,
        device: torch.device,
        dtype: torch.dtype,
        quantized: WeightFormat | None = None,
    ) -> PackedTower:
        config = self.config(Path(spec.path))
        tower = qwen_tower.load(
            self.tower_class,
            spec,
            config,
            self.embedding,
            device=device,
            dtype=dtype,
            quantized=quantized,
        )
        return self.shaped(tower, config)

    def num_taps(self, config: Any) -> int:
        """Layers of the tower that the decoder's first layers add features of."""
        return 0

    def embedding(self, visual: Any) -> qwen_tower.Embed:
        return qwen_tower.embedding(visual)

    def shaped(self, found: PackedTower, config: Any) -> PackedTower:
        """The tower with what the configuration says of its layers."""
        return found

    def load_projector(
        self, spec: ModelSpec, *, device: torch.device, dtype: torch.dtype
    ) -> nn.Module:
        folder = Path(spec.path)
        config = self.config(folder)
        with text.no_init(device):
            projector = self.make_projector(config).to(dtype)
        fill(projector, iter_tensors(folder, part("visual")), tied=set())
        return projector.eval()

    def load_decoder(self, folder: Path, config: Any, **where: Any) -> nn.Module:
        device, quantized = where["device"], where["quantized"]
        with text.no_init(home_of(device, quantized)):
            decoder = VisualDecoder._from_config(
                config.text_config, dtype=where["dtype"], attn_implementation="sdpa"
            )
        decoder.tie_weights()
        tied = {"lm_head.weight"} if config.text_config.tie_word_embeddings else set()
        tensors = iter_tensors(folder, _decoder_name)
        return filled(decoder, tensors, tied=tied, device=device, quantized=quantized)

    def vision_of(self, model: Any, spec: ModelSpec) -> PackedTower:
        return self.shaped(qwen_tower.live(model.model.visual, spec, self.embedding), model.config)


class Merger(nn.Module):
    """From [..., r * r * C], a token's patches side by side, to [..., D]."""

    def __init__(self, merger: nn.Module, width: int) -> None:
        super().__init__()
        self.merger = merger
        self._width = width

    def forward(self, features: Tensor) -> Tensor:
        merged: Tensor = self.merger(features.reshape(-1, self._width))
        return merged.view(*features.shape[:-1], -1)


def pixel_limits(image: dict[str, Any]) -> tuple[int, int]:
    """Least and most pixels, under any of the names that processors have had for them."""
    size = image.get("size") or {}
    least = [image.get("min_pixels"), size.get("shortest_edge"), size.get("min_pixels")]
    most = [image.get("max_pixels"), size.get("longest_edge"), size.get("max_pixels")]
    return _first(*least, DEFAULT_MIN_PIXELS), _first(*most, DEFAULT_MAX_PIXELS)


def _first(*found: Any) -> int:
    return next(int(value) for value in found if value is not None)


def _decoder_name(name: str) -> str | None:
    """Of transformers 4 `model.layers...` beside `visual...`, of 5 `model.language_model...`."""
    rest = name.removeprefix("model.")
    if rest.startswith("visual."):
        return None
    rest = rest.removeprefix("language_model.")
    return rest if rest.startswith("lm_head.") else f"model.{rest}"


FAMILY = Qwen2VL()
