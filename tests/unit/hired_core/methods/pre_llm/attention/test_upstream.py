"""`hired-upstream`: the published code's numbers (METHODS 1.2 and 1.4), worked by hand."""

from __future__ import annotations

import pytest
import torch

from hired_core import LayoutBatch, PartitionLayout, token_budget_to_count
from hired_core.methods.base import Evidence
from hired_core.methods.registry import method
from tests.support.settings import keep as keep_by

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
UPSTREAM = "hired-upstream"


def layout_of(height: int, width: int, *, transposed: bool = False) -> PartitionLayout:
    return PartitionLayout.from_image_size(
        height,
        width,
        pinpoints=PINPOINTS,
        partition_size=336,
        patch_size=14,
        transposed_grid=transposed,
    )


def hot(rows: slice, cols: slice) -> torch.Tensor:
    """[16, 576] attention with all mass in one rectangle of the 24 x 24 map."""
    attention = torch.zeros(16, 24, 24)
    attention[:, rows, cols] = 1.0
    return attention.flatten(1)


def run(
    layout: PartitionLayout, initial: torch.Tensor, rate: float, alpha: float, seed: int = 0
) -> tuple[torch.Tensor, list[int]]:
    """(keep [P, N], budgets) with random attention at the final layer."""
    generator = torch.Generator().manual_seed(seed)
    final = torch.rand(1, layout.num_partitions, 16, 576, generator=generator)
    evidence = Evidence(
        layout=LayoutBatch.stack([layout]),
        seeds=torch.tensor([0]),
        full_image_attention=initial[None],
        attention={"final": final},
    )
    own = layout.num_partitions * 576
    budget = token_budget_to_count(rate, nominal=2880, own=own, basis="image")
    keep, budgets = keep_by(UPSTREAM, evidence, torch.tensor([budget]), alpha=alpha)
    return keep[0], budgets[0].tolist()


def test_its_budget_is_a_fraction_of_the_images_own_partitions() -> None:
    assert method(UPSTREAM).own_basis


def test_quadrants_are_mistaken_for_horizontal_bands() -> None:
    # alpha .75 of 576: 432, and a mask of int(576 * .25) = 144 tokens = one whole quadrant, which
    # spreads over rows 0..11 = bands 0 and 1 of four 6-row bands, wherever it lies left or right.
    square = layout_of(672, 672)
    left = run(square, hot(slice(0, 12), slice(0, 12)), 0.2, 0.75)[1]
    right = run(square, hot(slice(0, 12), slice(12, 24)), 0.2, 0.75)[1]
    assert left == right == [432, 72, 72, 0, 0]
    bottom = run(square, hot(slice(12, 24), slice(0, 12)), 0.2, 0.75)[1]
    assert bottom == [432, 0, 0, 72, 72]


def test_the_paper_allocation_tells_the_quadrants_apart() -> None:
    layout = LayoutBatch.stack([layout_of(672, 672)])
    for quadrant, (row, col) in enumerate([(0, 0), (0, 12), (12, 0), (12, 12)]):
        initial = hot(slice(row, row + 12), slice(col, col + 12))[None]
        evidence = Evidence(
            layout=layout,
            seeds=torch.tensor([0]),
            full_image_attention=initial,
            attention={"final": torch.rand(1, 5, 16, 576)},
        )
        _, budgets = keep_by("hired", evidence, torch.tensor([576]), alpha=0.75)
        expected = [0, 0, 0, 0]
        expected[quadrant] = 144
        assert budgets.tolist() == [[432, *expected]]


def test_all_budget_in_one_band() -> None:
    # Rate .4, alpha .75: 1152 -> 864 capped at 576; 576 left; the mask's 144 tokens are rows 0..5.
    _, budgets = run(layout_of(672, 672), hot(slice(0, 6), slice(0, 24)), 0.4, 0.75)
    assert budgets == [576, 576, 0, 0, 0]


def test_the_clamp_loses_tokens() -> None:
    # Rate .9: 2592 -> 1296 capped at 576; 2016 left; a mask of 288 tokens with 144 in the first
    # band and 45, 52, 47 in the others: shares 1008, 315, 364, 329, the first clamped to 576.
    initial = torch.zeros(16, 4, 144)
    for band, count in enumerate((144, 45, 52, 47)):
        initial[:, band, :count] = 1.0
    _, budgets = run(layout_of(672, 672), initial.flatten(1), 0.9, 0.5)
    assert budgets == [576, 576, 315, 364, 329]
    assert sum(budgets) == 2160


def test_floors_lose_tokens() -> None:
    even = torch.ones(16, 576)
    # 345 -> int(172.5) = 172; 173 over two: ties put the mask's 288 tokens in the first band.
    assert run(layout_of(336, 672), even, 0.2, 0.5)[1] == [172, 173, 0]
    # Mass alternating over rows: 144 of the mask in either half: int(86.5) = 86 each, one lost.
    stripes = torch.zeros(16, 24, 24)
    stripes[:, ::2] = 1.0
    assert run(layout_of(336, 672), stripes.flatten(1), 0.2, 0.5)[1] == [172, 86, 86]
    # 460 -> 230; 230 over three bands of 8 rows, 96 tokens of the mask in each: 76 each, two lost.
    assert run(layout_of(336, 1008), stripes.flatten(1), 0.2, 0.5)[1] == [230, 76, 76, 76]


def test_alpha_zero_is_always_uniform_and_alpha_one_gives_the_full_image() -> None:
    square = layout_of(672, 672)
    initial = hot(slice(0, 3), slice(0, 3))
    assert run(square, initial, 0.2, 0.0)[1] == [0, 144, 144, 144, 144]
    # An empty mask: the published code divides 0 by 0 here.
    assert run(square, initial, 0.4, 1.0)[1] == [576, 0, 0, 0, 0]


def test_the_excess_of_the_full_image_flows_to_the_sub_images() -> None:
    stripes = torch.zeros(16, 24, 24)
    stripes[:, ::2] = 1.0
    assert run(layout_of(672, 672), stripes.flatten(1), 0.8, 0.5)[1] == [576, 432, 432, 432, 432]


def test_no_more_is_shared_than_the_sub_images_hold() -> None:
    # Rate .95, alpha .1: 2736 - 273 = 2463 cut to 4 * 576 = 2304; a mask of int(518.4) tokens, 86
    # of them in the last band: 144/518 * 2304 = 640, clamped, and 86/518 * 2304 = 382.5.
    initial = torch.ones(16, 4, 144)
    initial[:, 3, 86:] = 0.0
    _, budgets = run(layout_of(672, 672), initial.flatten(1), 0.95, 0.1)
    assert budgets == [273, 576, 576, 576, 382]


def test_padding_is_selected_and_lost() -> None:
    # 480 x 640: 144 patches of each partition would be padding were it not for the full-image;
    # sub-images lose 6 of 24 rows. Random attention puts about a quarter of their budget there.
    stripes = torch.zeros(16, 24, 24)
    stripes[:, ::2] = 1.0
    layout = layout_of(480, 640)
    keep, budgets = run(layout, stripes.flatten(1), 0.2, 0.5)
    assert budgets == [288, 72, 72, 72, 72]
    kept = keep.sum(1).tolist()
    assert kept[0] == 288
    assert 576 * 0.8 < sum(kept) < 576 * 0.92  # METHODS: 13-15 % lost, 502 emitted.
    assert not (keep & ~layout.valid).any()


@pytest.mark.parametrize(
    ("height", "width", "budget", "before", "emitted"),
    [
        (672, 672, 576, 576, 576),
        (480, 640, 576, 576, 502),
        (1024, 768, 576, 576, 491),
        (336, 672, 345, 344, 219),
        (672, 336, 345, 344, 210),
        (336, 1008, 460, 458, 255),
        (1008, 336, 460, 458, 249),
        (2000, 500, 460, 458, 240),
    ],
)
def test_the_published_table_within_the_spread_of_random_maps(
    height: int, width: int, budget: int, before: int, emitted: int
) -> None:
    """METHODS 1.4, table of defect 3: transposed grid, rate .2, alpha .5, random attention."""
    layout = layout_of(height, width, transposed=True)
    own = layout.num_partitions * 576
    assert token_budget_to_count(0.2, nominal=2880, own=own, basis="image") == budget
    generator = torch.Generator().manual_seed(1)
    kept, given = [], []
    for seed in range(8):
        initial = torch.rand(16, 576, generator=generator)
        keep, budgets = run(layout, initial, 0.2, 0.5, seed)
        given.append(sum(budgets))
        kept.append(int(keep.sum()))
    assert max(given) <= budget and min(given) >= before - 2
    assert sum(kept) / len(kept) == pytest.approx(emitted, abs=0.05 * emitted)
    if emitted == budget:
        assert kept == given


def test_a_batch_of_different_partition_counts_equals_one_by_one() -> None:
    layouts = [layout_of(336, 672), layout_of(672, 672), layout_of(1008, 336)]
    generator = torch.Generator().manual_seed(0)
    initial = torch.rand(3, 16, 576, generator=generator)
    final = torch.rand(3, 5, 16, 576, generator=generator)
    evidence = Evidence(
        layout=LayoutBatch.stack(layouts),
        seeds=torch.arange(3),
        full_image_attention=initial,
        attention={"final": final},
    )
    keep, budgets = keep_by(UPSTREAM, evidence, torch.tensor([345, 576, 460]))
    for row, (layout, budget) in enumerate(zip(layouts, (345, 576, 460), strict=True)):
        count = layout.num_partitions
        alone = Evidence(
            layout=LayoutBatch.stack([layout]),
            seeds=torch.tensor([row]),
            full_image_attention=initial[row : row + 1],
            attention={"final": final[row : row + 1, :count]},
        )
        own_keep, own_budgets = keep_by(UPSTREAM, alone, torch.tensor([budget]))
        assert torch.equal(keep[row, :count], own_keep[0])
        assert torch.equal(budgets[row, :count], own_budgets[0])
        assert not keep[row, count:].any() and not budgets[row, count:].any()
