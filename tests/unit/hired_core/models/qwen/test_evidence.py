"""What the towers show: attention that patches receive, by transformers' own queries and keys."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_position_ids

from hired_core.images.partition import partition_image
from hired_core.methods.budget import allocate_budget
from hired_core.methods.scores import visual_content_score
from hired_core.vlm.whole_images import WholeImages
from tests.support.halves import Halves, picture
from tests.support.native_original import NativeOriginal
from tests.support.qwen_checkpoints import build_qwen2_5_vl, build_qwen2_vl, build_qwen3_vl
from tests.support.settings import reduction

SIZES = [(200, 300), (90, 420), (56, 56)]
IMAGES = [picture(*size) for size in SIZES]
BUILDERS = {"qwen2_vl": build_qwen2_vl, "qwen2_5_vl": build_qwen2_5_vl, "qwen3_vl": build_qwen3_vl}
LAYERS = {"qwen2_vl": (0, 1, 2), "qwen2_5_vl": (1, 1, 3), "qwen3_vl": (0, 1, 3)}
"""Of the initial, middle and final one; of Qwen2.5-VL, those that see the whole image."""


@pytest.fixture(scope="module", params=list(BUILDERS))
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Halves, NativeOriginal]:
    folder: Path = BUILDERS[request.param](tmp_path_factory.mktemp(request.param), seed=7)
    return Halves(folder), NativeOriginal(folder)


def encoded(halves: Halves, **settings: Any) -> Any:
    whole = halves.vision_half(reduction(budget=0.2, **settings)).images
    assert isinstance(whole, WholeImages)
    pieces = [partition_image(image, halves.spec.geometry) for image in IMAGES]
    layouts = [halves.spec.layout(*size) for size in SIZES]
    with torch.inference_mode():
        return whole.encode(torch.from_numpy(np.concatenate(pieces)), layouts)


@torch.inference_mode()
def of_transformers(original: NativeOriginal, index: int, size: tuple[int, int]) -> Tensor:
    """float64 [n, H], what visual tokens of one image receive of a layer's attention."""
    visual, noted = original.model.model.visual, []
    hook = visual.blocks[index].attn.qkv.register_forward_hook(lambda _, __, out: noted.append(out))
    inputs = original.images([picture(*size)], return_tensors="pt")
    grid = inputs["image_grid_thw"]
    visual(inputs["pixel_values"], grid_thw=grid)
    hook.remove()
    rows = noted[0].reshape(len(noted[0]), 3, visual.blocks[index].attn.num_heads, -1)
    angles = visual.rotary_pos_emb(rows, get_vision_position_ids(grid, 2))
    if hasattr(visual, "window_size"):  # It works on windows one after another.
        order = _window_order(visual, grid)
        rows = rows[order.argsort()]
    query, key = apply_rotary_pos_emb_vision(rows[:, 0], rows[:, 1], *angles)
    scores = torch.einsum("qhd,khd->hqk", query.double(), key.double())
    seen = (scores / math.sqrt(query.shape[-1])).softmax(-1)
    return seen.mean(1).T.unflatten(0, (-1, 4)).sum(1)


def _window_order(visual: Any, grid: Tensor) -> Tensor:
    from transformers.vision_utils import get_vision_window_index

    tokens, _ = get_vision_window_index(grid, 2, visual.window_size, visual.patch_size)
    return (tokens[:, None] * 4 + torch.arange(4)).flatten()


def test_received_attention_of_layers_that_see_the_whole_image(
    model: tuple[Halves, NativeOriginal],
) -> None:
    halves, original = model
    names = ("initial", "middle", "final")
    assert tuple(map(halves.vision.index_of, names)) == LAYERS[halves.spec.family]
    found = encoded(halves, allocation="initial", dropping="middle").attention
    for index in LAYERS[halves.spec.family][:2]:
        first = 0
        for size in SIZES:
            expected = of_transformers(original, index, size)
            ours = found[index][first : first + len(expected)].double()
            assert torch.allclose(ours, expected, rtol=1e-3, atol=1e-7)
            first += len(expected)
        assert first == len(found[index])


def test_hired_by_hand(model: tuple[Halves, NativeOriginal]) -> None:
    """Budgets by the share of attention that cells receive early, tokens by what they receive
    late; alpha changes nothing."""
    halves, original = model
    early, _, late = LAYERS[halves.spec.family]
    for alpha in (0.0, 0.5):
        kept = halves.encode(IMAGES, reduction(budget=9, alpha=alpha))
        for size, tokens in zip(SIZES, kept, strict=True):
            layout = halves.spec.layout(*size)
            by_place = _by_place(of_transformers(original, early, size), layout)
            scores = visual_content_score(by_place.T, layout)
            assert float(scores.sum()) == pytest.approx(1)
            budgets = allocate_budget(scores, layout.valid.sum(-1), 9, alpha)
            assert tokens.budgets.tolist() == budgets.tolist() and int(budgets[0]) == 0
            importance = of_transformers(original, late, size).sum(1)
            expected: list[int] = []
            for cell, count in enumerate(budgets.tolist()):
                places = layout.place[cell][layout.valid[cell]]
                best = importance[places].argsort(descending=True)[:count]
                expected += places[best].tolist()
            assert tokens.place.tolist() == sorted(expected)


def _by_place(values: Tensor, layout: Any) -> Tensor:
    """[P*N, H] of [n, H]."""
    rows = layout.place.where(layout.valid, 0).flatten()
    return values[rows].float()


def test_keys_are_means_before_rotation(model: tuple[Halves, NativeOriginal]) -> None:
    halves, original = model
    final = encoded(halves, method="visionzip")
    (index,) = final.keys
    visual, noted = original.model.model.visual, []
    hook = visual.blocks[index].attn.qkv.register_forward_hook(lambda _, __, out: noted.append(out))
    inputs = original.images([IMAGES[2]], return_tensors="pt")
    with torch.inference_mode():
        visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    hook.remove()
    count = len(noted[0]) // 4
    keys = noted[0].chunk(3, dim=-1)[1].unflatten(0, (-1, 4)).mean(1)
    if hasattr(visual, "window_size"):
        keys = keys[_window_order(visual, inputs["image_grid_thw"])[::4].div(4).long().argsort()]
    assert torch.allclose(final.keys[index][-count:], keys, atol=1e-4)
