"""Small layouts, and torch's own resizing of each partition's tokens with padding left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hired_core import LayoutBatch, PartitionLayout
from hired_core.geometry.canvas import Size
from hired_core.methods.base import Evidence, Reduction
from hired_core.methods.registry import make_options, method
from hired_core.vlm.vision_half import KeptTokens
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

SIZES = [(56, 112), (112, 90), (112, 112), (90, 112), (168, 56), (40, 168), (70, 50)]
"""56-pixel partitions of 16 patches, some padded above or beside: P = 3, 5, 5, 5, 4, 4, 3."""


def layout_of(height: int, width: int) -> PartitionLayout:
    return PartitionLayout.from_image_size(
        height,
        width,
        pinpoints=[(56, 112), (112, 56), (112, 112), (168, 56), (56, 168)],
        partition_size=56,
        patch_size=14,
    )


def evidence_of(sizes: Sequence[Size], budgets: Sequence[int]) -> Evidence:
    layout = LayoutBatch.stack([layout_of(*size) for size in sizes])
    return Evidence(layout=layout, seeds=torch.zeros(len(sizes)), max_rows=max(budgets))


def reduced(
    name: str, sizes: Sequence[Size], budgets: Sequence[int], **options: Any
) -> tuple[LayoutBatch, Reduction]:
    """What a method makes of images of these sizes, told by geometry alone."""
    evidence = evidence_of(sizes, budgets)
    chosen = make_options(name, options)
    return evidence.layout, method(name).reduce(evidence, torch.tensor(budgets), chosen)


def assert_within(layout: LayoutBatch, found: Reduction, budget: int) -> None:
    """Of one image: no more rows than the budget, each a sum to 1 of valid patches, in order."""
    count, valid = int(found.count), layout.valid[0].flatten()
    assert 1 <= count <= budget and int(found.budgets.sum()) == count
    assert valid[found.source[0, :count]].all()
    assert (found.place[0, :count].diff() >= 0).all()
    if found.weights is not None:
        assert not found.weights[0, :count, ~valid].any()
        sums = found.weights[0].sum(-1)
        torch.testing.assert_close(sums[:count], torch.ones(count))


def assert_batch_equals_one_by_one(name: str, budgets: Sequence[int]) -> None:
    """Images of all `SIZES`, weights and places."""
    _, together = reduced(name, SIZES, budgets)
    for row, (size, budget) in enumerate(zip(SIZES, budgets, strict=True)):
        layout, alone = reduced(name, [size], [budget])
        count, own = int(alone.count), layout.valid[0].numel()
        assert int(together.count[row]) == count
        assert torch.equal(together.place[row, :count], alone.place[0, :count])
        assert torch.equal(together.source[row, :count], alone.source[0, :count])
        if together.weights is not None and alone.weights is not None:
            assert torch.equal(together.weights[row, :count, :own], alone.weights[0, :count])
            assert not together.weights[row, :count, own:].any()


def resized_by_torch(
    layout: PartitionLayout, every: Tensor, grid: int, mode: str
) -> tuple[list[int], Tensor]:
    """Places, ascending, and float64 [K, C]: `interpolate` of what is valid, over that of ones.

    Args:
        every: float64 [P*N, C], by partition and patch.
    """
    side, size = layout.side, (grid, grid)
    ones = layout.valid.view(-1, 1, side, side).double()
    image = every.view(-1, side, side, every.shape[-1]).permute(0, 3, 1, 2) * ones
    rows = interpolate(image, size, mode=mode) / interpolate(ones, size, mode=mode)
    touched = interpolate(ones, size, mode="bilinear")[:, 0] > 1e-9
    # Next to padding two rows may stand at one place: then in the order of their cells.
    cells = touched.nonzero().tolist()
    found = sorted((_place(layout, p, row, col, grid), p, row, col) for p, row, col in cells)
    return [place for place, *_ in found], torch.stack([rows[p, :, r, c] for _, p, r, c in found])


def _place(layout: PartitionLayout, partition: int, row: int, col: int, grid: int) -> int:
    """Of the first valid patch among those around the centre."""
    side = layout.side
    down, across = (((at + 0.5) * side / grid - 0.5) for at in (row, col))
    around = [
        i * side + j
        for i in sorted({math.floor(down + 1e-9), math.ceil(down - 1e-9)})
        for j in sorted({math.floor(across + 1e-9), math.ceil(across - 1e-9)})
        if layout.valid[partition, i * side + j]
    ]
    return int(layout.place[partition, around[0]])


def assert_rows_are_torchs(
    halves: Halves, name: str, mode: str, *, budget: int, grids: Sequence[int], projected: bool
) -> None:
    """Through the whole vision half, images of all `SIZES`, each resized to its of `grids`."""
    images = [picture(*size) for size in SIZES]
    dense = halves.encode(images, reduction(method="dense"))
    settings = reduction(method=name, token_budget=budget, projected=projected)
    found: list[KeptTokens] = halves.encode(images, settings)
    for size, whole, kept, grid in zip(SIZES, dense, found, grids, strict=True):
        tokens = halves.language.projector(whole.features) if projected else whole.features
        layout = halves.spec.layout(*size)
        every = torch.zeros(layout.valid.numel(), tokens.shape[-1], dtype=torch.float64)
        every[layout.place.flatten().argsort()[whole.place]] = tokens.detach().double()
        places, rows = resized_by_torch(layout, every, grid, mode)
        assert kept.place.tolist() == places and kept.projected == projected
        torch.testing.assert_close(kept.features.double(), rows, atol=2e-5, rtol=1e-4)
