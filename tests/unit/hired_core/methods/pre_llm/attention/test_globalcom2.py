"""GlobalCom2: tokens of a sub-image by what they are to it and to the whole image."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from hired_core.methods.pre_llm.attention.globalcom2 import local_and_global, sample
from tests.support.evidence import SIZES, kept, layout_of, random_evidence


def test_scores_by_hand() -> None:
    """A sub-image that shows all of the image: both parts are a 3-4-5 triangle."""
    importance = torch.tensor([[[3, 4, 0, 0], [0, 0, 6, 8]]]).double()
    centre = torch.cartesian_prod(*2 * [torch.tensor([0.25, 0.75])]).expand(1, 2, 4, 2)
    found = local_and_global(importance, centre, torch.ones(1, 2, 4, dtype=torch.bool))
    expected = torch.tensor([[[0.6, 0.8, 0, 0], [0.6, 0.8, 0.6, 0.8]]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=0)


def test_padding_is_no_part_of_a_norm() -> None:
    importance = torch.tensor([[[3, 4, 0, 0], [0, 3, 100, 4]]]).double()
    centre = torch.cartesian_prod(*2 * [torch.tensor([0.25, 0.75])]).expand(1, 2, 4, 2)
    valid = torch.tensor([[[True] * 4, [True, True, False, True]]])
    found = local_and_global(importance, centre, valid)[0, 1]
    expected = torch.tensor([0.6, 0.6 + 0.8, 0, 0.8], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    ("size", "grid"), [((112, 112), (2, 2)), ((56, 112), (1, 2)), ((168, 56), (3, 1))]
)
def test_without_padding_the_map_is_resized_and_cut(
    size: tuple[int, int], grid: tuple[int, int]
) -> None:
    layout = layout_of(size)
    assert layout.grid == grid and bool(layout.valid.all())
    full = torch.rand(1, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    large = F.interpolate(
        full.view(1, 1, 4, 4), size=(4 * grid[0], 4 * grid[1]), mode="bilinear", align_corners=False
    )[0, 0]
    cut = [
        large[4 * r : 4 * r + 4, 4 * c : 4 * c + 4].flatten()
        for r in range(grid[0])
        for c in range(grid[1])
    ]
    found = sample(full, layout.centre[None])[0]
    torch.testing.assert_close(found[1:], torch.stack(cut), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found[0], full[0], atol=1e-6, rtol=1e-6)


def read(image: list[float], y: float, x: float) -> float:
    """A map of 4 x 4 at a point, bilinearly, beyond the outermost centres as there."""
    row, col = (min(max(4 * at - 0.5, 0.0), 3.0) for at in (y, x))
    top, left = min(int(row), 2), min(int(col), 2)
    down, right = row - top, col - left
    return sum(
        image[4 * (top + i) + left + j] * abs(1 - i - down) * abs(1 - j - right)
        for i in (0, 1)
        for j in (0, 1)
    )


@pytest.mark.parametrize("allocation", ["globalcom2", "equal"])
def test_recomputed_apart(allocation: str) -> None:
    evidence = random_evidence(SIZES, range(6))
    keep = kept("globalcom2", evidence, [40, 19, 31, 45, 22, 50], allocation=allocation)
    attention = evidence.attention["final"].double().sum(2)
    for b, size in enumerate(SIZES):
        layout = layout_of(size)
        full = attention[b, 0].tolist()
        for p in range(layout.num_partitions):
            tokens = layout.valid[p].nonzero()[:, 0].tolist()
            own = attention[b, p].tolist()
            seen = [read(full, *layout.centre[p, i].tolist()) if p else 0.0 for i in range(16)]
            norms = [math.sqrt(sum(s[i] ** 2 for i in tokens)) or 1.0 for s in (own, seen)]
            score = {i: own[i] / norms[0] + seen[i] / norms[1] for i in tokens}
            picked = set(keep[b, p].nonzero()[:, 0].tolist())
            assert picked == set(sorted(tokens, key=lambda i: -score[i])[: len(picked)])
