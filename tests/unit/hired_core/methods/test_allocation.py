"""How many tokens each partition gets, by the allocations that selections share."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.layout_batch import LayoutBatch
from hired_core.methods.allocation import AllocationOptions, allocate
from hired_core.methods.base import Evidence
from hired_core.methods.registry import make_options, method
from tests.support.evidence import SIZES, layout_of, random_evidence


def budgets(
    sizes: list[tuple[int, int]], attention: Tensor, budget: list[int], allocation: str
) -> list[list[int]]:
    evidence = Evidence(
        layout=LayoutBatch.stack([layout_of(size) for size in sizes]),
        seeds=torch.zeros(len(sizes)),
        full_image_attention=attention,
    )
    options = AllocationOptions(allocation=allocation)  # type: ignore[arg-type]  # One of them.
    found: list[list[int]] = allocate(evidence, torch.tensor(budget), options).tolist()
    return found


def left_and_right(*left: float) -> Tensor:
    """[1, H, 16]: attention of heads to a patch of the left half, 1/100 to one of the right."""
    right = [True, True, False, False] * 4
    rows = [[value if side else 0.01 for side in right] for value in left]
    return torch.tensor([rows], dtype=torch.float64)


def test_soft_shares_by_hand() -> None:
    """Two sub-images of 8 patches: sums of logits differ by 10 log 3, sigma is 3/4 and 1/4.

    Half of 48 tokens stay: 8 of the full-image's 16, 16 (1 + 3/4 - 1/2) / 2 = 10 and 6.
    """
    factor = 3 ** (10 / 8)
    assert budgets([(56, 112)], left_and_right(0.01 * factor), [24], "globalcom2") == [[8, 10, 6]]
    # The mean over heads of logits, so that one head may have it all.
    heads = left_and_right(0.01 * factor**2, 0.01)
    assert budgets([(56, 112)], heads, [24], "globalcom2") == [[8, 10, 6]]
    # 32 tokens: 10.67, 13.33 and 8; the larger remainder is the full-image's.
    assert budgets([(56, 112)], left_and_right(0.01 * factor), [32], "globalcom2") == [[11, 13, 8]]


def test_what_is_over_goes_where_there_is_room() -> None:
    """Nearly all attention to the left: 45 tokens would be 15, 22 and 8."""
    assert budgets([(56, 112)], left_and_right(1.0), [45], "globalcom2") == [[16, 16, 13]]
    assert budgets([(56, 112)], left_and_right(1.0), [99], "globalcom2") == [[16, 16, 16]]
    assert budgets([(56, 112)], left_and_right(1.0), [0], "globalcom2") == [[0, 0, 0]]


@pytest.mark.parametrize("value", [0.0, 1 / 16, math.nan, math.inf])
@pytest.mark.parametrize("size", [(112, 112), (56, 140), (168, 56), (56, 128)])
def test_even_attention_gives_even_shares(size: tuple[int, int], value: float) -> None:
    """Each partition in proportion to its patches, though padding leaves some sub-images with
    fewer patches of the full-image than others."""
    rooms = layout_of(size).valid.sum(-1).tolist()
    total = 20
    found = budgets([size], torch.full((1, 2, 16), value), [total], "globalcom2")[0]
    assert sum(found) == total
    for count, room in zip(found, rooms, strict=True):
        assert abs(count - total * room / sum(rooms)) < 1


def test_sub_images_of_a_padded_canvas_are_not_of_equal_size() -> None:
    """Or the test above would show nothing: of 4 x 4 patches 4, 8 and 4 lie in the columns."""
    assert layout_of((56, 140)).sub_image_of.bincount().tolist() == [4, 8, 4]


def test_one_partition_takes_all() -> None:
    layout = LayoutBatch.stack([PartitionLayout.single(4)])
    evidence = Evidence(
        layout=layout, seeds=torch.zeros(1), full_image_attention=torch.rand(1, 2, 16)
    )
    for allocation in ("equal", "content", "globalcom2"):
        options = AllocationOptions(allocation=allocation)  # type: ignore[arg-type]  # Names.
        assert allocate(evidence, torch.tensor([5]), options).tolist() == [[5]]


def softly(layout: PartitionLayout, attention: list[list[float]], budget: int) -> list[float]:
    """GlobalCom2's shares in plain Python, before rounding; none may be above its room."""
    count = layout.num_partitions - 1
    owner, logits = layout.sub_image_of.tolist(), []
    for j in range(count):
        own = [
            sum(math.log(head[i]) for head in attention) / len(attention)
            for i in range(16)
            if owner[i] == j
        ]
        logits.append(16 / count * sum(own) / len(own))
    top = max(logits)
    exponents = [math.exp((value - top) / 10) for value in logits]
    share = [1.0, *(1 + e / sum(exponents) - 1 / count for e in exponents)]
    wanted = [s * r for s, r in zip(share, layout.valid.sum(-1).tolist(), strict=True)]
    return [budget * w / sum(wanted) for w in wanted]


def test_soft_shares_recomputed_apart() -> None:
    evidence = random_evidence(SIZES, range(6))
    assert evidence.full_image_attention is not None
    options = AllocationOptions(allocation="globalcom2")
    found = allocate(evidence, torch.full((6,), 20), options)
    for b, size in enumerate(SIZES):
        layout = layout_of(size)
        attention = evidence.full_image_attention[b].double().tolist()
        expected = softly(layout, attention, 20)
        for count, share in zip(found[b, : layout.num_partitions].tolist(), expected, strict=True):
            assert abs(count - share) < 1
        assert int(found[b].sum()) == 20


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_content_is_hireds(alpha: float) -> None:
    evidence = random_evidence(SIZES, range(6))
    budget = torch.tensor([20, 9, 31, 64, 3, 15])
    options = AllocationOptions(allocation="content", alpha=alpha)
    hired = method("hired")
    expected = hired.reduce(evidence, budget, make_options("hired", {"alpha": alpha})).budgets
    found = allocate(evidence, budget, options)
    assert torch.equal(found, expected)
    assert not torch.equal(found, allocate(evidence, budget, AllocationOptions()))


def test_what_others_share_the_batch_makes_no_difference() -> None:
    evidence = random_evidence(SIZES, range(6))
    budget = torch.tensor([20, 9, 31, 64, 3, 15])
    options = AllocationOptions(allocation="globalcom2")
    together = allocate(evidence, budget, options)
    for b, size in enumerate(SIZES):
        alone = allocate(random_evidence([size], [b]), budget[b : b + 1], options)[0]
        assert torch.equal(together[b, : len(alone)], alone)
        assert not together[b, len(alone) :].any()


def test_attention_beyond_measure_spoils_one_image_alone() -> None:
    evidence = random_evidence(SIZES[:2], [1, 2])
    assert evidence.full_image_attention is not None
    broken = evidence.full_image_attention.clone()
    broken[0, 0, 3] = math.nan
    options, budget = AllocationOptions(allocation="globalcom2"), torch.tensor([20, 9])
    found = allocate(replace(evidence, full_image_attention=broken), budget, options)
    assert found[0].tolist() == [4] * 5
    assert torch.equal(found[1], allocate(evidence, budget, options)[1])
