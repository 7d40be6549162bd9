"""Average pooling: by hand, against torch's own pooling, and through both halves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hired_core import LayoutBatch, PartitionLayout
from hired_core.methods.base import Evidence, Reduction, weighted_rows
from hired_core.methods.pre_llm.geometric.average_pool import METHOD, AveragePoolOptions, sides
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

SIZES = [(56, 112), (112, 50), (112, 112), (90, 112), (168, 56), (40, 168), (70, 50)]
"""56-pixel partitions of 16 patches, some with padding: P = 3, 3, 5, 5, 4, 4, 3."""


@pytest.fixture(scope="module")
def halves(small_checkpoint: object) -> Halves:
    return Halves(str(small_checkpoint))


def layout_of(height: int, width: int) -> PartitionLayout:
    return PartitionLayout.from_image_size(
        height,
        width,
        pinpoints=[(56, 112), (112, 56), (112, 112), (168, 56), (56, 168)],
        partition_size=56,
        patch_size=14,
    )


def reduced(
    sizes: list[tuple[int, int]], budgets: list[int], *, nested: bool = False
) -> tuple[LayoutBatch, Reduction]:
    layout = LayoutBatch.stack([layout_of(*size) for size in sizes])
    evidence = Evidence(layout=layout, seeds=torch.zeros(len(sizes)), max_rows=max(budgets))
    return layout, METHOD.reduce(evidence, torch.tensor(budgets), AveragePoolOptions(nested=nested))


def test_by_hand() -> None:
    """Three partitions of 4 x 4 at 12 rows: 2 x 2 each, cells of four patches."""
    _, found = reduced([(56, 112)], [12])
    assert found.count.tolist() == [12] and found.budgets.tolist() == [[4, 4, 4]]
    # The full-image's cells begin at patches 0, 2, 8, 10; the sub-images' lie side by side.
    assert found.source[0].tolist() == [0, 2, 8, 10, 16, 18, 32, 34, 24, 26, 40, 42]
    assert found.place[0].tolist() == [0, 2, 8, 10, 16, 18, 20, 22, 32, 34, 36, 38]
    assert found.weights is not None
    first = found.weights[0, 0]
    assert first.nonzero()[:, 0].tolist() == [0, 1, 4, 5]
    assert first[[0, 1, 4, 5]].tolist() == [0.25] * 4


def test_padding_is_left_out_of_the_mean() -> None:
    """90 x 112 on a 2 x 2 grid: the first and the last patch row of the stitched grid are padding.

    At 1 x 1 each sub-image's mean is of 12 patches, the full-image's of 16.
    """
    _, found = reduced([(90, 112)], [5])
    assert found.count.tolist() == [5] and found.weights is not None
    assert (found.weights[0] > 0).sum(-1).tolist() == [16, 12, 12, 12, 12]
    torch.testing.assert_close(found.weights[0].sum(-1), torch.ones(5))


@pytest.mark.parametrize(("budget", "rows"), [(1, 1), (2, 1), (4, 4), (8, 4), (9, 9), (16, 16)])
def test_fewer_tokens_than_two_by_two_of_all_leave_sub_images_out(budget: int, rows: int) -> None:
    """Five partitions: below 5 the full-image alone, 5 to 19 one token each."""
    _, found = reduced([(112, 112)], [budget])
    expected = rows if budget < 5 else 5
    assert found.count.tolist() == [expected]
    assert found.budgets[0].tolist() == ([expected, 0, 0, 0, 0] if budget < 5 else [1] * 5)


@given(budget=st.integers(1, 80), size=st.sampled_from(SIZES))
def test_never_more_rows_than_the_budget_never_padding(budget: int, size: tuple[int, int]) -> None:
    layout, found = reduced([size], [budget])
    count = int(found.count)
    assert 1 <= count <= budget and int(found.budgets.sum()) == count
    assert found.weights is not None
    rows = found.weights[0, :count]
    assert not rows[:, ~layout.valid[0].flatten()].any()
    torch.testing.assert_close(rows.sum(-1), torch.ones(count))
    assert (found.place[0, :count].diff() >= 0).all()
    assert layout.valid[0].flatten()[found.source[0, :count]].all()
    # One more cell along a side would be too many.
    if budget >= 5 and count < int(layout.valid.sum()):
        assert count >= layout.valid[0].any(-1).sum()


def test_a_batch_of_different_grids_equals_one_by_one() -> None:
    budgets = [20, 5, 31, 80, 2, 12, 9]
    _, together = reduced(SIZES, budgets)
    assert together.weights is not None
    for row, (size, budget) in enumerate(zip(SIZES, budgets, strict=True)):
        layout, alone = reduced([size], [budget])
        count, own = int(alone.count), layout.valid[0].numel()
        assert int(together.count[row]) == count and alone.weights is not None
        assert torch.equal(together.place[row, :count], alone.place[0, :count])
        assert torch.equal(together.weights[row, :count, :own], alone.weights[0, :count])
        assert not together.weights[row, :count, own:].any()


@pytest.mark.parametrize(
    ("side", "expected"),
    [(24, [1, 3, 6, 12, 24]), (12, [1, 3, 6, 12]), (27, [1, 27]), (16, [1, 2, 4, 8, 16]), (1, [1])],
)
def test_nested_sides_are_those_of_m3(side: int, expected: list[int]) -> None:
    """S in {1, 9, 36, 144, 576} for a side of 24."""
    assert list(sides(side, AveragePoolOptions(nested=True))) == expected
    assert list(sides(side, AveragePoolOptions())) == list(range(1, side + 1))


@pytest.mark.parametrize(("budget", "rows"), [(27, 12), (12, 12), (11, 3), (47, 12), (48, 48)])
def test_nested_pooling_knows_1_2_and_4_of_4(budget: int, rows: int) -> None:
    """Three partitions: 3 x 3 each would fit 27 tokens, and is none of M3's."""
    _, found = reduced([(56, 112)], [budget], nested=True)
    assert found.count.tolist() == [rows]
    _, plain = reduced([(56, 112)], [27])
    assert plain.count.tolist() == [27]


@given(budget=st.integers(1, 80), size=st.sampled_from(SIZES))
def test_nested_cells_are_sums_of_the_next(budget: int, size: tuple[int, int]) -> None:
    """So that each level is a mean of means: no cell of a nested side overlaps another."""
    layout, found = reduced([size], [budget], nested=True)
    count = int(found.count)
    assert 1 <= count <= budget and found.weights is not None
    taken = (found.weights[0, :count] > 0).sum(0)
    valid = layout.valid[0].flatten()
    assert taken.max() == 1 and not taken[~valid].any()


def means(layout: PartitionLayout, every: torch.Tensor, grid: int) -> dict[int, torch.Tensor]:
    """By place of a cell's first patch: the mean of its patches, float64, in plain loops."""
    side, found = layout.side, {}
    for p in range(layout.num_partitions):
        for row in range(grid):
            for col in range(grid):
                rows = range(row * side // grid, -(-(row + 1) * side // grid))
                cols = range(col * side // grid, -(-(col + 1) * side // grid))
                cell = [r * side + c for r in rows for c in cols if layout.valid[p, r * side + c]]
                if cell:
                    at = [p * side * side + patch for patch in cell]
                    found[int(layout.place[p, cell[0]])] = every[at].mean(0)
    return found


@pytest.mark.parametrize("projected", [True, False])
@torch.inference_mode()
def test_rows_are_means_of_the_dense_models_tokens(halves: Halves, projected: bool) -> None:
    """20 of 80 tokens: 2 x 2 of each of up to five partitions, and 2 x 2 where there are fewer."""
    images = [picture(*size) for size in SIZES]
    dense = halves.encode(images, reduction(method="dense"))
    settings = reduction(method="average-pool", token_budget=0.25, projected=projected)
    found = halves.encode(images, settings)
    for size, whole, kept in zip(SIZES, dense, found, strict=True):
        tokens = halves.language.projector(whole.features) if projected else whole.features
        layout = halves.spec.layout(*size)
        every = torch.zeros(layout.valid.numel(), tokens.shape[-1], dtype=torch.float64)
        every[layout.place.flatten().argsort()[whole.place]] = tokens.double()
        expected = means(layout, every, 2)
        assert kept.place.tolist() == sorted(expected)
        for place, row in zip(kept.place.tolist(), kept.features, strict=True):
            torch.testing.assert_close(row.double(), expected[place], atol=2e-5, rtol=1e-4)
        assert kept.projected == projected and kept.num_dense == len(whole.place)


def test_projected_rows_are_not_projected_twice(halves: Halves) -> None:
    """What the decoder reads are the rows themselves, between the prompt's two parts."""
    settings = reduction(method="average-pool", token_budget=0.25)
    (request,) = halves.requests([picture(112, 112)], ["Describe."], settings, "none")
    assert request.projected and request.features.shape == (20, 128)
    embeds = halves.language.embed(request)
    start = len(request.before)
    assert torch.equal(embeds[start : start + 20], request.features)


def test_texts_by_both_backends_and_whatever_shares_the_batch(halves: Halves) -> None:
    settings = reduction(method="average-pool", token_budget=0.25)
    images, prompts = [picture(*size) for size in SIZES], ["Describe."] * len(SIZES)
    together = halves.generate(halves.requests(images, prompts, settings, "none"), max_new_tokens=6)
    for image, prompt, completion in zip(images, prompts, together, strict=True):
        alone = halves.requests([image], [prompt], settings, "none")
        assert halves.generate(alone, max_new_tokens=6)[0] == completion


def test_sums_are_taken_in_float32_at_least() -> None:
    """4096 ones and a half: in half precision ones would stop adding up at 2048."""
    features = torch.ones(1, 1, 4096, 1, dtype=torch.float16)
    weights = torch.full((1, 1, 4096), 1 / 4096)
    assert weighted_rows(weights, features).item() == 1.0
