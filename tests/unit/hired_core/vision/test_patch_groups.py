"""Evidence of patches as evidence of visual tokens: sums, means, features side by side."""

from __future__ import annotations

import pytest
import torch
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector

from hired_core.vision.patch_groups import PatchGroups


def test_the_patches_of_a_token_by_hand() -> None:
    """4 x 4 patches, tokens of 2 x 2: the second token is at the right above."""
    raster = PatchGroups(merge=2).patches_of(torch.tensor([1, 2]), 16)
    assert raster.tolist() == [[2, 3, 6, 7], [8, 9, 12, 13]]
    adjacent = PatchGroups(merge=2, adjacent=True).patches_of(torch.tensor([1, 2]), 16)
    assert adjacent.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]


def test_scores_are_summed_and_keys_averaged() -> None:
    groups = PatchGroups(merge=2)
    scores = torch.arange(16.0).view(1, 1, 16)
    assert groups.sums(scores).tolist() == [[[10.0, 18.0, 42.0, 50.0]]]
    assert groups.sums(scores).dtype == torch.float32
    keys = torch.stack([torch.arange(16.0), -torch.arange(16.0)], -1)[None]
    assert groups.means(keys).tolist() == [[[2.5, -2.5], [4.5, -4.5], [10.5, -10.5], [12.5, -12.5]]]


@pytest.mark.parametrize("merge", [2, 3])
def test_features_are_joined_as_pixel_shuffle_does(merge: int) -> None:
    features = torch.randn(2, (2 * merge) ** 2, 5)
    expected = Idefics3Connector.pixel_shuffle(None, features, merge)
    assert torch.equal(PatchGroups(merge=merge).joined(features), expected)


def test_one_patch_a_token_changes_nothing() -> None:
    groups, values = PatchGroups(), torch.randn(2, 3, 9)
    assert groups.sums(values) is values and groups.means(values) is values
    assert groups.joined(values) is values
