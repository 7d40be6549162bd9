"""What methods are shown, made up: of one image by hand, of batches at random.

Partitions of 56 pixels and 16 patches, 4 to a side. What lies in padding attracts, and what an
image does not have is no number, so that a method that looks there is found out. Legend: B images,
P partitions, N patches, H heads, C width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.layout_batch import LayoutBatch
from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Reduction
from hired_core.methods.registry import METHODS, make_options, method

PINPOINTS: Final = ((56, 112), (112, 56), (112, 112), (168, 56), (56, 168))
SIZES: Final = ((112, 112), (56, 112), (90, 112), (168, 56), (40, 168), (70, 50))
"""P = 5, 3, 5, 4, 4, 5; the third, the fifth and the last are padded."""
GROUPED: Final = [n for n in METHODS if issubclass(method(n).options, AllocationOptions)]
"""Methods that take any allocation."""
MERGING: Final = [name for name in GROUPED if method(name).merges]
ALLOCATIONS: Final = ("equal", "content", "globalcom2", "global")
PAIRS: Final = [(n, a) for n in GROUPED for a in ALLOCATIONS if n not in MERGING or a != "global"]
HEADS: Final = 2
WIDTH: Final = 6


def layout_of(size: tuple[int, int]) -> PartitionLayout:
    return PartitionLayout.from_image_size(
        *size, pinpoints=PINPOINTS, partition_size=56, patch_size=14
    )


def random_evidence(
    sizes: Sequence[tuple[int, int]], seeds: Sequence[int], budgets: Sequence[int] = ()
) -> Evidence:
    """All that any method looks at; of each image a function of its size and seed alone."""
    layouts = [layout_of(size) for size in sizes]
    layer = make_options("hiprune", {}).object_layer
    most = max(one.num_partitions for one in layouts)
    each = [_of_one(one, seed, most) for one, seed in zip(layouts, seeds, strict=True)]
    attention, early, late, keys, features = (
        torch.stack(column) for column in zip(*each, strict=True)
    )
    rooms = [one.num_valid for one in layouts]
    return Evidence(
        layout=LayoutBatch.stack(layouts),
        seeds=torch.tensor(seeds),
        max_rows=max(map(min, budgets, rooms)) if budgets else max(rooms),
        full_image_attention=attention[:, 0],
        attention={"final": attention},
        received={layer: early, "final": late},
        keys=keys,
        features=features,
    )


def _of_one(layout: PartitionLayout, seed: int, most: int) -> tuple[Tensor, ...]:
    """Attention and received attention twice [P, H, N]; keys and features [P, N, C]."""
    count, patches = layout.valid.shape
    generator = torch.Generator().manual_seed(seed)
    attentions = [
        torch.rand(count, HEADS, patches, generator=generator).pow(3) / patches for _ in range(3)
    ]
    for each in attentions:
        each += (~layout.valid)[:, None]  # Most of all.
    vectors = [torch.randn(count, patches, WIDTH, generator=generator) + 0.5 for _ in range(2)]
    return tuple(_padded(each, most) for each in (*attentions, *vectors))


def _padded(values: Tensor, most: int) -> Tensor:
    found = values.new_full((most, *values.shape[1:]), math.nan)
    found[: len(values)] = values
    return found


def one_partition(**shown: Any) -> Evidence:
    """Of an image that is one partition, all of it valid; values without B and P."""
    patches = next(iter(shown.values())).shape[-1 if "attention" in shown else 0]
    layout = PartitionLayout.single(math.isqrt(patches))
    evidence = Evidence(
        layout=LayoutBatch.stack([layout]), seeds=torch.zeros(1, dtype=torch.long), max_rows=patches
    )
    if "attention" in shown:
        shown["attention"] = {"final": shown["attention"][None, None, None]}
    for key in {"keys", "features"} & shown.keys():
        shown[key] = shown[key][None, None]
    return replace(evidence, **shown)


def reduce(name: str, evidence: Evidence, budget: Sequence[int], **options: Any) -> Reduction:
    chosen = make_options(name, options)
    return method(name).reduce(evidence, torch.tensor(budget), chosen)


def kept(name: str, evidence: Evidence, budget: Sequence[int], **options: Any) -> Tensor:
    """bool [B, P, N]: where rows stand."""
    found = reduce(name, evidence, budget, **options)
    images, partitions, patches = evidence.layout.valid.shape
    keep = torch.zeros(images, partitions * patches, dtype=torch.bool)
    for row, count in enumerate(found.count.tolist()):
        keep[row, found.source[row, :count]] = True
    return keep.view(images, partitions, patches)


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two vectors, in float64."""
    dot = math.fsum(a * b for a, b in zip(one, other, strict=True))
    norm = math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in other))
    return dot / norm if norm else 0.0


def groups(
    valid: Tensor, keep: Tensor, allocation: str, *values: Tensor
) -> Iterator[tuple[list[int], set[int], Any]]:
    """(valid tokens, those kept, values [n, ...] as lists) of each group that has a valid token.

    Groups are partitions, or images; tokens are told by their index in the group. Of one kind of
    values the lists themselves, of several a tuple of them.
    """
    together = allocation == "global"
    columns = [each.flatten(1, 2)[:, None] if together else each for each in (valid, keep, *values)]
    for image in range(len(valid)):
        for inside, chosen, *rest in zip(*(each[image] for each in columns), strict=True):
            if inside.any():
                lists = [each.double().tolist() for each in rest]
                shown = lists[0] if len(lists) == 1 else tuple(lists)
                yield _true(inside), set(_true(chosen)), shown


def _true(flags: Tensor) -> list[int]:
    found: list[int] = flags.nonzero()[:, 0].tolist()
    return found
