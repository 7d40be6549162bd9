"""HiRED's scores against a float64 recomputation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hired_core import (
    LayoutBatch,
    PartitionLayout,
    feature_importance_score,
    visual_content_score,
)

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
SIZES = [(336, 672), (640, 480), (700, 700), (1000, 330), (115, 900)]


def layout_of(height: int, width: int) -> PartitionLayout:
    return PartitionLayout.from_image_size(
        height, width, pinpoints=PINPOINTS, partition_size=336, patch_size=14
    )


def attention(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).mul(3).softmax(-1)


def content_by_loop(
    attention_HN: npt.NDArray[np.float64], layout: PartitionLayout
) -> npt.NDArray[np.float64]:
    mass = attention_HN.sum(0)
    score = np.zeros(layout.num_partitions - 1)
    for patch, sub_image in enumerate(layout.sub_image_of.tolist()):
        score[sub_image] += mass[patch]
    return score / mass.sum()


@pytest.mark.parametrize("size", SIZES)
def test_visual_content_score_equals_a_loop(size: tuple[int, int]) -> None:
    layout, cls = layout_of(*size), attention(16, 576)
    expected = content_by_loop(cls.double().numpy(), layout)
    score = visual_content_score(cls, layout)
    assert score.dtype == torch.float64
    np.testing.assert_allclose(score.numpy(), expected, atol=1e-9)
    assert float(score.sum()) == pytest.approx(1, abs=1e-12)


def test_visual_content_score_by_hand() -> None:
    # 2x2 quadrants of 2x2-patch partitions: one full-image patch per sub-image.
    layout = PartitionLayout.from_image_size(
        56, 56, pinpoints=[(56, 56)], partition_size=28, patch_size=14
    )
    cls = torch.tensor([[0.1, 0.2, 0.3, 0.0], [0.0, 0.2, 0.1, 0.1]])
    score = visual_content_score(cls, layout)
    np.testing.assert_allclose(score.numpy(), [0.1, 0.4, 0.4, 0.1], atol=1e-7)


def test_visual_content_score_in_a_batch_of_different_partition_counts() -> None:
    layouts = [layout_of(*size) for size in SIZES]
    cls = attention(len(SIZES), 16, 576)
    together = visual_content_score(cls, LayoutBatch.stack(layouts))
    assert together.shape == (len(SIZES), 4)
    for row, layout in enumerate(layouts):
        count = layout.num_partitions - 1
        assert torch.equal(together[row, :count], visual_content_score(cls[row], layout))
        assert not together[row, count:].any()


def test_all_zero_and_not_finite_attention() -> None:
    layout = layout_of(672, 672)
    assert visual_content_score(torch.zeros(16, 576), layout).tolist() == [0, 0, 0, 0]
    for value in (math.nan, math.inf):
        cls = torch.zeros(16, 576)
        cls[3, 5] = value
        assert not torch.isfinite(visual_content_score(cls, layout)).all()


def test_a_bad_image_leaves_its_neighbours_alone() -> None:
    layout, cls = layout_of(672, 672), attention(2, 16, 576)
    alone = visual_content_score(cls[1], layout)
    cls[0, 0, 0] = math.nan
    assert torch.equal(visual_content_score(cls, LayoutBatch.stack([layout, layout]))[1], alone)


def test_feature_importance_score_is_the_sum_over_heads() -> None:
    cls = attention(5, 16, 576)
    score = feature_importance_score(cls)
    assert score.dtype == torch.float64 and score.shape == (5, 576)
    np.testing.assert_allclose(score.numpy(), cls.double().numpy().sum(1), atol=1e-10)


def test_half_precision_attention_is_summed_in_double() -> None:
    cls = attention(5, 16, 576).half()
    expected = cls.double().numpy().sum(1)
    np.testing.assert_allclose(feature_importance_score(cls).numpy(), expected, atol=1e-10)


def test_sums_do_not_depend_on_their_order() -> None:
    """Heads and patches in any order give the same bits: no near-tie falls differently."""
    cls, layout = attention(16, 576, seed=4), layout_of(700, 700)
    heads = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(feature_importance_score(cls), feature_importance_score(cls[heads]))
    assert torch.equal(visual_content_score(cls, layout), visual_content_score(cls[heads], layout))
    # Mirrored within each quadrant: the same masses, added in another order.
    mirrored = cls.view(16, 24, 2, 12).flip(-1).reshape(16, 576)
    assert torch.equal(visual_content_score(cls, layout), visual_content_score(mirrored, layout))
