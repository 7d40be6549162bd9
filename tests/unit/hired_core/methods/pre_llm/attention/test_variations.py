"""HiRED with choices of the paper's Table 5 made otherwise: layers, equal shares, one head."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaNextForConditionalGeneration

from hired_core import LayoutBatch, PartitionLayout
from hired_core.errors import SettingError
from hired_core.images.partition import partition_image
from hired_core.methods.base import Evidence
from hired_core.methods.pre_llm.attention import hired
from tests.support.checkpoints import build_checkpoint
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

# 56-pixel partitions of 16 patches; the second is padded.
SIZES = [(112, 112), (90, 112), (56, 112), (40, 168)]
LAYERS = {"initial": 0, "middle": 2, "final": 4}
CHOICES = list(product(("initial", "final", "even"), LAYERS, ("sum", "none")))


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Halves:
    """Six vision layers, of which layer 4 is the feature layer."""
    return Halves(build_checkpoint(tmp_path_factory.mktemp("deep"), seed=8, vision_layers=6))


@pytest.fixture(scope="module")
def maps(halves: Halves) -> list[list[Tensor]]:
    """transformers' own CLS attention [P, H, N] of each image, layer by layer."""
    model = LlavaNextForConditionalGeneration.from_pretrained(
        halves.spec.path, dtype=torch.float32, attn_implementation="eager"
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in (halves.spec.mean, halves.spec.std))
    found = []
    for size in SIZES:
        parts = partition_image(picture(*size), halves.spec.geometry)
        with torch.inference_mode():
            tower = model.model.vision_tower
            pixels = (torch.from_numpy(parts) / 255 - mean) / std
            attentions = tower(pixels, output_attentions=True).attentions
        found.append([layer[:, :, 0, 1:].double() for layer in attentions])
    return found


def largest_remainder(share: list[float], total: int) -> list[int]:
    whole = [int(s * total) for s in share]
    by_remainder = sorted(range(len(share)), key=lambda i: whole[i] - share[i] * total)
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def expected(
    layout: PartitionLayout, attention: list[Tensor], allocation: str, dropping: str, heads: str
) -> tuple[list[int], list[int]]:
    """Budgets and positions, in plain Python: 4 tokens for the full-image, 8 for sub-images."""
    chosen = [layer.sum(1) if heads == "sum" else layer[:, 0] for layer in attention]
    count = layout.num_partitions - 1
    share = [1 / count] * count
    if allocation != "even":
        mass = chosen[LAYERS[allocation]][0].tolist()
        share = [0.0] * count
        for patch, sub_image in enumerate(layout.sub_image_of.tolist()):
            share[sub_image] += mass[patch] / sum(mass)
    budgets = [4, *largest_remainder(share, 8)]
    assert all(b <= r for b, r in zip(budgets, layout.valid.sum(1).tolist(), strict=True))
    positions = []
    for partition, budget in enumerate(budgets):
        importance = chosen[LAYERS[dropping]][partition].tolist()
        candidates = layout.valid[partition].nonzero()[:, 0].tolist()
        best = sorted(candidates, key=lambda i: -importance[i])[:budget]
        positions += [int(layout.place[partition, i]) for i in best]
    return budgets, sorted(positions)


@pytest.mark.parametrize(("allocation", "dropping", "heads"), CHOICES)
def test_each_choice_is_what_transformers_attention_says(
    halves: Halves, maps: list[list[Tensor]], allocation: Any, dropping: Any, heads: Any
) -> None:
    settings = reduction(
        token_budget=12, alpha=0.35, allocation=allocation, dropping=dropping, heads=heads
    )
    kept = halves.encode([picture(*size) for size in SIZES], settings)
    dense = halves.encode([picture(*size) for size in SIZES], reduction(token_budget=1.0))
    for size, attention, tokens, whole in zip(SIZES, maps, kept, dense, strict=True):
        layout = halves.spec.layout(*size)
        budgets, positions = expected(layout, attention, allocation, dropping, heads)
        assert tokens.budgets.tolist() == budgets
        assert tokens.place.tolist() == positions
        # Whatever tells which they are, they are the feature layer's.
        at = torch.searchsorted(whole.place, tokens.place)
        torch.testing.assert_close(tokens.features, whole.features[at], atol=1e-4, rtol=1e-4)


def test_no_two_choices_are_the_same(halves: Halves) -> None:
    """Else the test above could not tell one from another."""
    found = set()
    for allocation, dropping, heads in CHOICES:
        settings = reduction(
            token_budget=12,
            alpha=0.35,
            allocation=allocation,  # type: ignore[arg-type]
            dropping=dropping,  # type: ignore[arg-type]
            heads=heads,  # type: ignore[arg-type]
        )
        kept = halves.encode([picture(*size) for size in SIZES], settings)
        found.add(tuple(tuple(tokens.place.tolist()) for tokens in kept))
    assert len(found) == len(CHOICES)


def test_equal_shares_by_hand() -> None:
    """Half of 20 for the full-image, 10 shared by four: 2.5 each, the lower indices rounded up."""
    layout = PartitionLayout.from_image_size(
        112, 112, pinpoints=[(112, 112)], partition_size=56, patch_size=14
    )
    evidence = Evidence(layout=LayoutBatch.stack([layout]), seeds=torch.zeros(1))
    options = hired.HiredOptions(allocation="even")
    budgets = hired.allocate(evidence, torch.tensor([20]), options)
    assert budgets.tolist() == [[10, 3, 3, 2, 2]]


def rows_asked(halves: Halves, **settings: Any) -> list[tuple[int, int]]:
    """(layer, partitions) of each time that queries of CLS tokens alone were computed."""
    seen: list[tuple[int, int]] = []
    hooks = [
        layer.self_attn.q_proj.register_forward_pre_hook(
            lambda _, arguments, index=index: seen.append((index, *arguments[0].shape[:2]))
        )
        for index, layer in enumerate(halves.vision.tower.layers)
    ]
    halves.encode([picture(112, 112), picture(56, 112)], reduction(**settings))
    for hook in hooks:
        hook.remove()
    whole = [(index, 8, 17) for index in range(5)]
    assert [one for one in seen if one[2] == 17] == whole, "a layer runs more than once"
    return [one[:2] for one in seen if one[2] == 1]


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        # The final layer's own queries serve, so only others are computed for a look.
        ({}, [(0, 2)]),
        ({"allocation": "even"}, []),
        ({"allocation": "final"}, []),
        ({"dropping": "middle"}, [(0, 2), (2, 8)]),
        ({"dropping": "initial"}, [(0, 2), (0, 8)]),
        ({"allocation": "final", "dropping": "middle"}, [(2, 8)]),
        ({"method": "uniform"}, []),
        ({"method": "random"}, []),
        ({"token_budget": 1.0}, []),
    ],
)
def test_only_what_is_asked_for_is_computed(
    halves: Halves, settings: dict[str, Any], rows: list[tuple[int, int]]
) -> None:
    assert rows_asked(halves, **settings) == rows


def test_skipped_sub_images_are_not_looked_at(halves: Halves) -> None:
    settings = {"token_budget": 16, "alpha": 0.25, "dropping": "middle", "skip_below": 4}
    kept = halves.encode([picture(112, 112)], reduction(**settings))[0]  # type: ignore[arg-type]
    plain = halves.encode([picture(112, 112)], reduction(token_budget=16, alpha=0.25))[0]
    assert 0 < int((kept.budgets > 0).sum()) < int((plain.budgets > 0).sum())
    assert int(kept.budgets.sum()) == len(kept.place) == 16


def test_nothing_varies_when_nothing_is_dropped(halves: Halves) -> None:
    whole = reduction(token_budget=1.0, allocation="final", dropping="initial")
    (varied,) = halves.encode([picture(112, 112)], whole)
    (plain,) = halves.encode([picture(112, 112)], reduction(token_budget=1.0))
    assert torch.equal(varied.features, plain.features)


@pytest.mark.parametrize("key", ["dropping", "heads"])
@pytest.mark.parametrize("method", ["hired-upstream", "uniform", "random", "dense"])
def test_only_hired_varies(key: str, method: str) -> None:
    chosen = {key: {"heads": "none"}.get(key, "middle")}
    with pytest.raises(SettingError, match=f"^{key}: no option of method {method}; it has "):
        reduction(method=method, **chosen)


def test_allocations_of_other_methods_have_other_names() -> None:
    with pytest.raises(
        SettingError, match=r"^allocation: 'content' is .*; allowed: initial, final"
    ):
        reduction(allocation="content")
    with pytest.raises(
        SettingError, match=r"^allocation: 'initial' is .*; allowed: equal, content"
    ):
        reduction(method="uniform", allocation="initial")
    with pytest.raises(SettingError, match=r"^allocation: no option of method hired-upstream"):
        reduction(method="hired-upstream", allocation="equal")


def test_shares_known_last_cannot_skip() -> None:
    with pytest.raises(SettingError, match=r"^skip_below: .* too late to skip"):
        reduction(allocation="final", skip_below=8)
    assert reduction(allocation="even", skip_below=8).options.skip_below == 8


def test_a_value_that_is_none_of_them() -> None:
    with pytest.raises(SettingError, match="dropping: 'last' is out of range; allowed: init"):
        reduction(dropping="last")


def test_the_settings_reach_the_method() -> None:
    chosen = {"allocation": "even", "dropping": "middle", "heads": "none"}
    method, options = reduction(**chosen).resolve()
    assert (method, options) == (hired.METHOD, hired.HiredOptions(**chosen))  # type: ignore[arg-type]
    assert reduction(**chosen).variations == chosen
    assert reduction(budget=1, **chosen).variations == {}
    assert reduction(budget=1, **chosen).resolve()[0].keeps_all
