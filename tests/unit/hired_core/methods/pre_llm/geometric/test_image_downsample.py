"""The image at fewer pixels: sides by hand, properties, and transformers' tower on small pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from hired_core import LayoutBatch, PartitionLayout
from hired_core.errors import SettingError
from hired_core.images.partition import partition_image
from hired_core.methods.base import Evidence, NoOptions
from hired_core.methods.registry import method
from hired_core.vision.tower import VisionEncoder
from hired_core.vlm.shrinking import resize
from hired_core.vlm.vision_half import VisionHalf
from tests.support.halves import Halves, picture
from tests.support.resizing import (
    SIZES,
    assert_batch_equals_one_by_one,
    assert_within,
    evidence_of,
    layout_of,
    reduced,
)
from tests.support.settings import reduction

NAME = "image-downsample"


@pytest.fixture(scope="module")
def halves(small_checkpoint: object) -> Halves:
    return Halves(str(small_checkpoint))


def sides(evidence: Evidence, budgets: list[int]) -> list[list[int]]:
    found: Any = method(NAME)
    asked: Tensor = found.shrink(evidence, torch.tensor(budgets), NoOptions())
    return asked.tolist()


@pytest.mark.parametrize(
    ("size", "budget", "expected"),
    [
        ((112, 112), 1, [1, 0, 0, 0, 0]),
        ((112, 112), 8, [2, 0, 0, 0, 0]),
        ((112, 112), 9, [3, 0, 0, 0, 0]),
        ((112, 112), 16, [4, 0, 0, 0, 0]),
        # 35 left: 2 x 2 of each of four is a grid of 4 x 4, which the full-image is already.
        ((112, 112), 51, [4, 0, 0, 0, 0]),
        ((112, 112), 52, [4, 3, 3, 3, 3]),
        ((112, 112), 80, [4, 4, 4, 4, 4]),
        ((56, 112), 33, [4, 0, 0]),
        ((56, 112), 34, [4, 3, 3]),
        ((112, 50), 34, [4, 3, 3]),
        # Three side by side are finer than the full-image at 2 patches each, three times 4 rows.
        ((56, 168), 27, [4, 0, 0, 0]),
        ((56, 168), 28, [4, 2, 2, 2]),
        ((168, 56), 28, [4, 2, 2, 2]),
        # The upper sub-images' first patch row and the lower ones' last are padding. At 3 the
        # centres lie in rows 0, 2 and 3: six patches of each upper, of rows 0 and 2 six of each
        # lower one.
        ((90, 112), 39, [4, 0, 0, 0, 0]),
        ((90, 112), 40, [4, 3, 3, 3, 3]),
    ],
)
def test_sides_by_hand(size: tuple[int, int], budget: int, expected: list[int]) -> None:
    assert sides(evidence_of([size], [budget]), [budget]) == [expected]


def test_rows_by_hand() -> None:
    """Of 3 patches along 4 the centres lie at 2/3, 2 and 10/3; rows are kept, not summed."""
    _, found = reduced(NAME, [(56, 112)], [10])
    assert found.weights is None and found.count.tolist() == [9]
    assert found.place[0, :9].tolist() == [0, 2, 3, 8, 10, 11, 12, 14, 15]
    assert found.budgets.tolist() == [[9, 0, 0]]


def test_one_partition_takes_the_budget_and_no_more() -> None:
    layout = PartitionLayout.single(4)
    evidence = Evidence(layout=LayoutBatch.stack([layout]), seeds=torch.zeros(1), max_rows=30)
    assert sides(evidence, [30]) == [[4]] and sides(evidence, [5]) == [[2]]


@given(budget=st.integers(1, 80), size=st.sampled_from(SIZES))
def test_never_more_rows_than_the_budget_never_padding(budget: int, size: tuple[int, int]) -> None:
    layout, found = reduced(NAME, [size], [budget])
    assert_within(layout, found, budget)
    assert (found.place[0, : int(found.count)].diff() > 0).all()
    assert int(found.budgets[0, 0]) == math.isqrt(min(budget, 16)) ** 2


def test_a_batch_of_different_grids_equals_one_by_one() -> None:
    budgets = [34, 9, 52, 70, 2, 28, 80]
    assert_batch_equals_one_by_one(NAME, budgets)
    together = sides(evidence_of(SIZES, budgets), budgets)
    for size, budget, row in zip(SIZES, budgets, together, strict=True):
        (alone,) = sides(evidence_of([size], [budget]), [budget])
        assert row == alone + [0] * (5 - len(alone))


@torch.inference_mode()
def small_features(halves: Halves, pixels: Tensor, side: int) -> Tensor:
    """[side**2, C] of transformers' own tower on one partition of 14 * `side` pixels."""
    from transformers import LlavaNextForConditionalGeneration

    model = LlavaNextForConditionalGeneration.from_pretrained(halves.spec.path, dtype=torch.float32)
    mean, std = (torch.tensor(v)[:, None, None] for v in (halves.spec.mean, halves.spec.std))
    found = model.model.vision_tower(
        (pixels[None] / 255 - mean) / std, output_hidden_states=True, interpolate_pos_encoding=True
    )
    assert pixels.shape == (3, 14 * side, 14 * side)
    features: Tensor = found.hidden_states[model.config.vision_feature_layer][0, 1:]
    return features


@pytest.mark.parametrize(
    ("size", "budget", "expected"),
    [((112, 112), 10, [3, 0, 0, 0, 0]), ((90, 112), 40, [4, 3, 3, 3, 3]), ((40, 168), 28, None)],
)
def test_rows_are_transformers_own_features(
    halves: Halves, size: tuple[int, int], budget: int, expected: list[int] | None
) -> None:
    """Each row is the feature of the small patch whose centre lies in the patch at its place."""
    image, layout = picture(*size), layout_of(*size)
    (asked,) = sides(evidence_of([size], [budget]), [budget])
    assert expected is None or asked == expected
    wanted = {}
    for p, pixels in enumerate(partition_image(image, halves.spec.geometry)):
        small = resize(torch.from_numpy(pixels)[None], 14 * max(asked[p], 1))[0]
        for at, feature in enumerate(small_features(halves, small, asked[p]) if asked[p] else []):
            row, col = (int((i + 0.5) * 4 / asked[p]) for i in divmod(at, asked[p]))
            if layout.valid[p, 4 * row + col]:
                wanted[int(layout.place[p, 4 * row + col])] = feature
    (kept,) = halves.encode([image], reduction(method=NAME, token_budget=budget))
    assert kept.place.tolist() == sorted(wanted) and len(wanted) <= budget
    rows = torch.stack([wanted[place] for place in sorted(wanted)])
    torch.testing.assert_close(kept.features, rows, atol=1e-4, rtol=1e-4)


def test_pixels_are_resized_as_pillow_does() -> None:
    """On floats, so that Pillow does not clip between its two passes; black and white overshoot."""
    pixels = np.array(picture(56, 56)).transpose(2, 0, 1)
    pixels = np.where(pixels > 128, 255, 0).astype(np.uint8)
    for size in (14, 42, 56):
        found = resize(torch.from_numpy(pixels)[None], size)[0].numpy()
        assert found.dtype == np.uint8 and found.shape == (3, size, size)
        for channel, expected in zip(found, pixels.astype(np.float32), strict=True):
            told = Image.fromarray(expected).resize((size, size), Image.Resampling.BICUBIC)
            assert np.abs(channel - np.array(told).clip(0, 255)).max() < 0.51


@pytest.mark.parametrize(("budget", "tokens"), [(10, 7 * 10), (16, 7 * 17), (34, None)])
def test_no_more_is_encoded_than_is_kept(halves: Halves, budget: int, tokens: int | None) -> None:
    """Tokens through the first layer: g x g and CLS of each partition that has a side."""
    seen: list[int] = []
    layer = halves.vision.tower.layers[0]
    hook = layer.layer_norm2.register_forward_pre_hook(
        lambda _, arguments: seen.append(arguments[0].shape[0] * arguments[0].shape[1])
    )
    halves.encode([picture(*size) for size in SIZES], reduction(method=NAME, token_budget=budget))
    hook.remove()
    asked = sides(evidence_of(SIZES, [budget] * 7), [budget] * 7)
    assert sum(seen) == sum(side**2 + 1 for row in asked for side in row if side)
    assert tokens is None or sum(seen) == tokens
    assert len(seen) <= len({side for row in asked for side in row if side})


def test_a_tower_of_one_size_is_refused_by_name(halves: Halves) -> None:
    vision = VisionEncoder(replace(halves.vision.tower, embed_resized=None))
    with pytest.raises(SettingError, match=f"method: {NAME} encodes images at fewer pixels"):
        VisionHalf(vision, halves.spec, reduction(method=NAME, token_budget=10))
    VisionHalf(vision, halves.spec, reduction(method="stride", token_budget=10))


def test_texts_by_both_backends_and_whatever_shares_the_batch(halves: Halves) -> None:
    settings = reduction(method=NAME, token_budget=34)
    images, prompts = [picture(*size) for size in SIZES], ["Describe."] * len(SIZES)
    together = halves.generate(halves.requests(images, prompts, settings, "none"), max_new_tokens=6)
    for image, prompt, completion in zip(images, prompts, together, strict=True):
        alone = halves.requests([image], [prompt], settings, "none")
        assert halves.generate(alone, max_new_tokens=6)[0] == completion
