"""Qwen-VL's vision towers: loading, and as `vision.packed` takes them. T patches, C width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.vision_utils import get_vision_position_ids

from hired_core.choices import WeightFormat
from hired_core.geometry.canvas import Size
from hired_core.geometry.spec import ModelSpec
from hired_core.models.checkpoint import iter_tensors, part
from hired_core.models.text import no_init
from hired_core.models.weights import Weights, filled, home_of
from hired_core.transfer import upload
from hired_core.vision.packed import Angles, PackedTower

Embed = Callable[[Tensor, Sequence[Size]], Tensor]
"""Normalised patches [T, 3, p, p] and grids of patches -> [T, C]."""

MERGERS = ("merger", "deepstack_merger_list")
"""What of transformers' tower is the projector."""


def weights(kind: Any, config: Any) -> Weights:
    """Numbers that `load` holds; `kind` is transformers' class of the tower."""
    with torch.device("meta"):
        return Weights.of(without_mergers(kind._from_config(config.vision_config)))


def load(
    kind: Any,
    spec: ModelSpec,
    config: Any,
    embedding: Callable[[Any], Embed],
    *,
    device: torch.device,
    dtype: torch.dtype,
    quantized: WeightFormat | None = None,
) -> PackedTower:
    """From a checkpoint."""
    with no_init(home_of(device, quantized)):
        visual = kind._from_config(config.vision_config, dtype=dtype, attn_implementation="sdpa")
    visual = without_mergers(visual)
    tensors = iter_tensors(Path(spec.path), part("visual"))
    visual = filled(visual, tensors, tied=set(), device=device, quantized=quantized)
    return live(visual, spec, embedding)


def live(visual: Any, spec: ModelSpec, embedding: Callable[[Any], Embed]) -> PackedTower:
    """Of transformers' tower in memory; no weight is copied."""
    weight = visual.patch_embed.proj.weight
    return PackedTower(
        embed=embedding(visual),
        angles=_angles(visual),
        layers=list(visual.blocks),
        merge=visual.spatial_merge_size,
        mean=spec.mean,
        std=spec.std,
        device=weight.device,
        dtype=weight.dtype,
    )


def windowed(tower: PackedTower, config: Any) -> PackedTower:
    """With layers that see windows alone, but for those that the configuration names."""
    vision = config.vision_config
    every = set(range(vision.depth))
    return replace(
        tower,
        windowed=frozenset(every - set(vision.fullatt_block_indexes)),
        window=vision.window_size // vision.patch_size // vision.spatial_merge_size,
    )


def without_mergers(visual: Any) -> Any:
    for name in MERGERS:
        if hasattr(visual, name):
            setattr(visual, name, nn.Identity())
    return visual


def embedding(visual: Any) -> Embed:
    """Of patches alone."""
    projection = visual.patch_embed.proj
    frames = projection.kernel_size[0]

    def embed(patches: Tensor, grids: Sequence[Size]) -> Tensor:
        # An image is as many equal frames; a convolution without overlap is a product.
        still = patches[:, :, None].expand(-1, -1, frames, -1, -1).flatten(1)
        return nn.functional.linear(still, projection.weight.flatten(1), projection.bias)

    return embed


def _angles(visual: Any) -> Callable[[Sequence[Size]], Angles]:
    def angles(grids: Sequence[Size]) -> Angles:
        shapes = torch.tensor([[1, rows, cols] for rows, cols in grids])
        places = get_vision_position_ids(shapes, visual.spatial_merge_size)
        device = visual.patch_embed.proj.weight.device
        cos, sin = visual.rotary_pos_emb(torch.empty(0, device=device), upload(places, device))
        return cos, sin

    return angles
