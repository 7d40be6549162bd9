"""Sub-images that would get too few tokens: not encoded, their share given to the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from PIL import Image

from hired_core import LayoutBatch, PartitionLayout
from hired_core.errors import SettingError
from hired_core.methods.base import Evidence
from hired_core.methods.registry import make_options, method
from hired_core.vlm.vision_half import KeptTokens
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

SIZES = [(112, 112), (56, 112), (90, 112), (168, 56), (40, 168)]
"""56-pixel partitions of 16 patches: P = 5, 3, 5, 4, 4; the third and the last are padded."""


@pytest.fixture(scope="module")
def halves(small_checkpoint: object) -> Halves:
    return Halves(str(small_checkpoint))


def pictures() -> list[Image.Image]:
    return [picture(height, width) for height, width in SIZES]


def evidence(*masses: int) -> Evidence:
    """Four sub-images of 16 patches, as many of the full-image's CLS attention as `masses` say."""
    layout = PartitionLayout.from_image_size(
        112, 112, pinpoints=[(112, 112)], partition_size=56, patch_size=14
    )
    attention = torch.tensor(masses)[layout.sub_image_of] / 64
    return Evidence(
        layout=LayoutBatch.stack([layout]),
        seeds=torch.zeros(1),
        full_image_attention=attention[None, None],
    )


def without_small(evidence: Evidence, budget: int, **options: Any) -> tuple[Evidence, torch.Tensor]:
    """The evidence without what `hired` would skip, and budgets [B, P] then."""
    hired: Any = method("hired")
    chosen, wanted = make_options("hired", options), torch.tensor([budget])
    evidence, encoded = hired.skip(evidence, wanted, chosen)
    budgets = hired.allocate(evidence, wanted, chosen)
    assert torch.equal(encoded, budgets > 0)
    return evidence, budgets


@pytest.mark.parametrize(
    ("budget", "least", "expected"),
    [
        # 10 for the full-image, 10 shared as 10:6:3:1, that is 5, 3, 1.5 and 0.5.
        (20, 0, [10, 5, 3, 2, 0]),
        (20, 1, [10, 5, 3, 2, 0]),  # without the last: 5.26, 3.16, 1.58
        (20, 3, [10, 6, 4, 0, 0]),  # 6.25, 3.75
        (20, 4, [10, 10, 0, 0, 0]),
        (20, 6, [16, 0, 0, 0, 0]),  # the full-image has but 16 patches
        # 16 (not 20) for the full-image, 24 for the others: 12, 7.2, 3.6 and 1.2.
        (40, 4, [16, 13, 7, 4, 0]),  # 12.63, 7.58, 3.79
        (40, 5, [16, 15, 9, 0, 0]),
        (60, 11, [16, 16, 16, 0, 0]),  # two sub-images hold no more
    ],
)
def test_hand_worked_budgets(budget: int, least: int, expected: list[int]) -> None:
    _, budgets = without_small(evidence(10, 6, 3, 1), budget, alpha=0.5, skip_below=least)
    assert budgets.tolist() == [expected]


def test_the_full_image_stays_however_little_it_gets() -> None:
    """2 for it, 18 for the others: 9, 5.4, 2.7 and 0.9; without the last 9.47, 5.68, 2.84."""
    _, budgets = without_small(evidence(10, 6, 3, 1), 20, alpha=0.1, skip_below=3)
    assert budgets.tolist() == [[2, 9, 6, 3, 0]]


def test_rounding_may_end_a_budget_one_below_the_threshold() -> None:
    """Of 11, 1.5 4.3 4.3 0.9 is 2 4 4 1; without the last, 1.63 4.68 4.68 is 1 5 5."""
    _, budgets = without_small(evidence(15, 43, 43, 9), 22, alpha=0.5, skip_below=2)
    assert budgets.tolist() == [[11, 1, 5, 5, 0]]


def test_patches_of_what_is_left_out_are_no_longer_valid() -> None:
    found, _ = without_small(evidence(10, 6, 3, 1), 20, alpha=0.5, skip_below=3)
    assert found.layout.valid.all(-1).tolist() == [[True, True, True, False, False]]
    assert found.layout.valid.any(-1).tolist() == [[True, True, True, False, False]]


@contextmanager
def partitions_through(layer: Any) -> Iterator[list[int]]:
    """How many partitions pass through an encoder layer, call by call."""
    seen: list[int] = []
    hook = layer.layer_norm2.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].shape[0])
    )
    yield seen
    hook.remove()


def encode(halves: Halves, **settings: Any) -> tuple[list[KeptTokens], int]:
    """Kept tokens and the number of partitions encoded."""
    with partitions_through(halves.vision.tower.layers[0]) as seen:
        kept = halves.encode(pictures(), reduction(**settings))
    return kept, sum(seen)


@pytest.mark.parametrize(("budget", "least"), [(16, 2), (20, 3), (40, 6), (70, 12)])
def test_what_gets_no_token_is_not_encoded(halves: Halves, budget: int, least: int) -> None:
    plain, all_of_them = encode(halves, token_budget=budget)
    kept, encoded = encode(halves, token_budget=budget, skip_below=least)
    assert all_of_them == 5 + 3 + 5 + 4 + 4
    assert encoded == sum(int((tokens.budgets > 0).sum()) for tokens in kept) < all_of_them
    for (height, width), before, after in zip(SIZES, plain, kept, strict=True):
        stays = before.budgets >= least
        stays[0] = True
        capacity = halves.spec.layout(height, width).valid.sum(1)[stays]
        assert (after.budgets[~stays] == 0).all()
        assert int(after.budgets.sum()) == min(budget, int(capacity.sum())) == len(after.place)
        assert after.num_dense == before.num_dense


def test_kept_tokens_are_those_of_their_positions(halves: Halves) -> None:
    dense, _ = encode(halves, method="dense", token_budget=1.0)
    kept, _ = encode(halves, token_budget=20, skip_below=4)
    for (height, width), whole, tokens in zip(SIZES, dense, kept, strict=True):
        at = torch.searchsorted(whole.place, tokens.place)
        assert torch.equal(whole.place[at], tokens.place)
        torch.testing.assert_close(tokens.features, whole.features[at], atol=1e-4, rtol=1e-4)
        layout = halves.spec.layout(height, width)
        owner = torch.empty(layout.place.numel(), dtype=torch.int64)
        owner[layout.place.flatten()] = torch.arange(len(tokens.budgets)).repeat_interleave(16)
        counts = owner[tokens.place].bincount(minlength=len(tokens.budgets))
        assert torch.equal(counts, tokens.budgets)


def test_it_does_not_depend_on_the_batch(halves: Halves) -> None:
    settings = reduction(token_budget=20, skip_below=4)
    for image, together in zip(pictures(), halves.encode(pictures(), settings), strict=True):
        (alone,) = halves.encode([image], settings)
        assert torch.equal(alone.place, together.place)
        assert torch.equal(alone.budgets, together.budgets)
        torch.testing.assert_close(alone.features, together.features, atol=1e-4, rtol=1e-4)


def test_a_full_image_without_budget_is_not_encoded_either(halves: Halves) -> None:
    kept, encoded = encode(halves, token_budget=20, alpha=0.0, skip_below=1)
    assert [int(tokens.budgets[0]) for tokens in kept] == [0] * len(SIZES)
    assert encoded == sum(int((tokens.budgets > 0).sum()) for tokens in kept) <= 21 - len(SIZES)
    assert [len(tokens.place) for tokens in kept] == [20] * len(SIZES)


def test_nothing_is_skipped_when_nothing_is_dropped(halves: Halves) -> None:
    whole, encoded = encode(halves, token_budget=1.0, skip_below=16)
    assert encoded == 21
    assert [len(tokens.place) for tokens in whole] == [tokens.num_dense for tokens in whole]


@pytest.mark.parametrize("name", ["hired-upstream", "uniform", "random", "dense"])
def test_methods_that_know_no_shares_beforehand_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"^skip_below: no option of method {name}; it has "):
        reduction(method=name, skip_below=8)


def test_a_negative_threshold_is_refused() -> None:
    with pytest.raises(SettingError, match="skip_below: -1 is out of range; allowed: 0 or more"):
        reduction(skip_below=-1)
