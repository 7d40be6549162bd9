"""Images go to the tower in micro-batches; how they are grouped does not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hired_core.images.partition import partition_image
from hired_core.vision.tower import VisionEncoder
from hired_core.vlm.vision_half import VisionHalf, micro_batches
from tests.support.halves import CPU, Halves, picture
from tests.support.models import load_vision
from tests.support.settings import reduction

SIZES = [(56, 112), (112, 112), (90, 112), (168, 56), (40, 168)]


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ([], 5, []),
        ([3], 5, [(0, 1)]),
        ([3, 2, 3, 2], 5, [(0, 2), (2, 4)]),
        ([3, 3, 2, 5, 1], 5, [(0, 1), (1, 3), (3, 4), (4, 5)]),
        ([9, 1, 9], 5, [(0, 1), (1, 2), (2, 3)]),  # larger than the limit: alone
        ([1, 1, 1], 9, [(0, 3)]),
    ],
)
def test_neighbours_share_a_micro_batch_up_to_its_limit(
    sizes: list[int], limit: int, expected: list[tuple[int, int]]
) -> None:
    assert micro_batches(sizes, limit) == [slice(start, stop) for start, stop in expected]


@pytest.fixture(scope="module")
def halves(small_checkpoint: Path) -> Halves:
    return Halves(small_checkpoint)


@pytest.mark.parametrize("settings", [{"token_budget": 0.3}, {"token_budget": 1.0}])
def test_micro_batches_do_not_show(halves: Halves, settings: dict[str, Any]) -> None:
    chosen = reduction(**settings)
    together = halves.encode([picture(*size) for size in SIZES], chosen)
    for micro_batch in (1, 8 * 16):
        tower = load_vision(halves.spec, device=CPU, dtype=torch.float32)
        vision = VisionEncoder(tower, micro_batch=micro_batch)
        calls: list[int] = []
        tower.layers[1].layer_norm1.register_forward_pre_hook(
            lambda _, arguments, calls=calls: calls.append(arguments[0].shape[0])
        )
        found = VisionHalf(vision, halves.spec, chosen)(*arguments(halves))
        assert calls == ([3, 5, 5, 4, 4] if micro_batch == 1 else [8, 5, 8])
        for first, second in zip(found, together, strict=True):
            assert torch.equal(first.place, second.place)
            assert torch.equal(first.budgets, second.budgets)
            torch.testing.assert_close(first.features, second.features, atol=1e-4, rtol=1e-5)


def arguments(halves: Halves) -> tuple[list[Any], list[tuple[int, int]], list[int]]:
    spec = halves.spec
    partitions = [partition_image(picture(*size), spec.geometry) for size in SIZES]
    return partitions, SIZES, [height * 10007 + width for height, width in SIZES]


def test_no_image_is_no_work(halves: Halves) -> None:
    assert VisionHalf(halves.vision, halves.spec, reduction())([], [], []) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_as_many_tokens_and_nearly_the_same(
    halves: Halves, dtype: torch.dtype
) -> None:
    tower = load_vision(halves.spec, device=CPU, dtype=dtype)
    dense = reduction(token_budget=1.0)
    whole = halves.encode([picture(*size) for size in SIZES], dense)
    half = VisionHalf(VisionEncoder(tower), halves.spec, dense)(*arguments(halves))
    for first, second in zip(half, whole, strict=True):
        assert first.features.dtype == dtype and torch.equal(first.place, second.place)
        error = (first.features.float() - second.features).norm() / second.features.norm()
        assert 0 < float(error) < 0.03
    few = VisionHalf(VisionEncoder(tower), halves.spec, reduction(token_budget=20))
    assert [len(tokens.place) for tokens in few(*arguments(halves))] == [20] * len(SIZES)
