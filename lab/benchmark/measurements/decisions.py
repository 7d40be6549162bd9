"""What it costs to decide: every method's own work on evidence of a real model's size.

Attention, keys and features are drawn, not computed: no weights take part. Legend: B images,
P partitions, N patches, C width, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.layout_batch import LayoutBatch
from hired_core.methods.base import Evidence, Method, Needs, weighted_rows
from hired_core.methods.registry import METHODS, make_options, method
from lab.benchmark.contestants.answers import now
from lab.benchmark.measurements.summary import spread

__all__ = ["LLAVA_NEXT_7B", "Sizes", "decisions"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of evidence: B images of a 2 x 2 grid, and K tokens to keep."""

    images: int = 16
    side: int = 24
    heads: int = 16
    width: int = 1024
    projected: int = 4096
    kept: int = 576


LLAVA_NEXT_7B: Final = Sizes()


def decisions(
    device: torch.device, *, repeats: int, sizes: Sizes = LLAVA_NEXT_7B, names: Sequence[str] = ()
) -> dict[str, Any]:
    """Milliseconds an image, by method; of those that work before the language model and choose.

    Args:
        names: methods; by default all.
    """
    chosen = {name: method(name) for name in names or METHODS}
    timed = {n: m for n, m in chosen.items() if not m.keeps_all and m.schedule is None}
    found = {name: _time(name, each, device, repeats, sizes) for name, each in timed.items()}
    return {"sizes": vars(sizes), "methods": found}


def _time(
    name: str, chosen: Method, device: torch.device, repeats: int, sizes: Sizes
) -> Mapping[str, Any]:
    options = make_options(name, {})
    evidence = draw(chosen.needs(options), sizes, device, all_features=chosen.merges)
    budget = torch.full((sizes.images,), sizes.kept, device=device)
    times = []
    for _ in range(repeats + 1):
        started = now(device)
        reduction = chosen.reduce(evidence, budget, options)
        if reduction.weights is not None and evidence.features is not None:
            weighted_rows(reduction.weights, evidence.features)
        times.append(1e3 * (now(device) - started) / sizes.images)
    return {"ms": spread(times[1:]), "rows": int(reduction.count[0])}


def draw(needs: Needs, sizes: Sizes, device: torch.device, *, all_features: bool) -> Evidence:
    """What `needs` asks for, at random: attention as softmax gives it, features with a mean."""
    generator = torch.Generator(device).manual_seed(0)
    partition = 14 * sizes.side
    layout = PartitionLayout.from_image_size(
        2 * partition,
        2 * partition,
        pinpoints=[(2 * partition, 2 * partition)],
        partition_size=partition,
        patch_size=14,
    )
    patches = sizes.side**2
    each = (sizes.images, layout.num_partitions)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    width = sizes.projected if needs.projected else sizes.width
    has_features = all_features or needs.features or needs.projected
    looks = needs.full_image_layer is not None
    return Evidence(
        layout=LayoutBatch.stack([layout] * sizes.images, device=device),
        seeds=torch.arange(sizes.images, device=device),
        max_rows=sizes.kept,
        full_image_attention=normal(sizes.images, sizes.heads, patches).softmax(-1)
        if looks
        else None,
        attention={
            layer: normal(*each, sizes.heads, patches).softmax(-1) for layer in needs.cls_layers
        },
        received={
            layer: normal(*each, sizes.heads, patches).softmax(-1)
            for layer in needs.received_layers
        },
        keys=normal(*each, patches, sizes.width) if needs.keys_layer is not None else None,
        features=normal(*each, patches, width) + 1 if has_features else None,
    )
