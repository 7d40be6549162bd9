"""CLIP vision towers, up to the feature layer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel

from hired_core.geometry.spec import ModelSpec
from hired_core.models.checkpoint import CheckpointError, fill, iter_tensors, part
from hired_core.models.text import no_init
from hired_core.vision.encoder_layer import QuickGELU
from hired_core.vision.tower import VisionTower

BICUBIC: Final = 3
_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
_STD: Final = (0.26862954, 0.26130258, 0.27577711)


def normalisation(
    image: dict[str, Any],
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per channel of a checkpoint's image processor."""
    mean = tuple(float(value) for value in image.get("image_mean", _MEAN))
    std = tuple(float(value) for value in image.get("image_std", _STD))
    return mean, std  # type: ignore[return-value]  # Three of each, or the tower would not run.


def feature_layer(config: Any) -> int:
    """Layer index whose output is `hidden_states[vision_feature_layer]` (one entry more).

    Raises:
        CheckpointError: if there are several, or it is none of the tower's.
    """
    chosen, depth = config.vision_feature_layer, config.vision_config.num_hidden_layers
    if not isinstance(chosen, int):
        raise CheckpointError("several vision feature layers are not supported")
    index = depth + chosen if chosen < 0 else chosen - 1
    if not 0 <= index < depth:
        raise CheckpointError(f"vision_feature_layer {chosen} is outside the {depth} layers")
    return index


def params(vision: Any, num_layers: int) -> int:
    """Weights that each token passes through."""
    width = vision.hidden_size
    patch = 3 * vision.patch_size**2 * width
    return int(patch + num_layers * (4 * width**2 + 2 * width * vision.intermediate_size))


def count(config: Any, num_layers: int) -> int:
    """Numbers that `load` holds."""
    vision = config.vision_config
    vision.num_hidden_layers = num_layers
    with torch.device("meta"):
        tower = _inner(CLIPVisionModel._from_config(vision))
    tower.post_layernorm = nn.Identity()
    return sum(weight.numel() for weight in tower.parameters())


def load(spec: ModelSpec, config: Any, *, device: torch.device, dtype: torch.dtype) -> VisionTower:
    """From a checkpoint; later layers are neither read nor kept."""
    vision = config.vision_config
    vision.num_hidden_layers = spec.feature_layer + 1
    with no_init(device):
        model = CLIPVisionModel._from_config(vision, dtype=dtype, attn_implementation="sdpa")
    tower = _inner(model)
    tower.post_layernorm = nn.Identity()  # Applied to the pooled output only, which is not used.
    names = part("vision_tower", "vision_model")
    fill(tower, iter_tensors(Path(spec.path), names), tied=set())
    tower.eval()
    if vision.hidden_act == "quick_gelu":
        for layer in tower.encoder.layers:
            layer.mlp.activation_fn = QuickGELU()
    return _tower(tower, spec)


def live(tower: Any, spec: ModelSpec) -> VisionTower:
    """Of a model in memory; no weight is copied."""
    return _tower(_inner(tower), spec)


def _tower(tower: Any, spec: ModelSpec) -> VisionTower:
    weight = tower.pre_layrnorm.weight

    def embed(pixels: Tensor, **how: bool) -> Tensor:
        embedded: Tensor = tower.pre_layrnorm(tower.embeddings(pixels, **how))
        return embedded

    return VisionTower(
        embed=embed,
        layers=list(tower.encoder.layers[: spec.feature_layer + 1]),
        has_cls=True,
        mean=spec.mean,
        std=spec.std,
        device=weight.device,
        dtype=weight.dtype,
        embed_resized=partial(embed, interpolate_pos_encoding=True),
    )


def _inner(model: Any) -> Any:
    return getattr(model, "vision_model", model)
