"""Methods through `VisionHalf`: exact budgets, independence of the batch, one signature."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from hired_core import LayoutBatch
from hired_core.methods.base import Evidence, Needs
from hired_core.methods.registry import METHODS, make_options
from hired_core.methods.registry import method as method_of
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.vision_half import KeptTokens
from tests.support.evidence import GROUPED, MERGING, PAIRS
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

EXACT = ["hired", *GROUPED]
SELECTIONS = sorted([name for name in EXACT if name not in MERGING] + ["dense", "hired-upstream"])
# 56-pixel partitions of 16 patches: grids of P = 3, 3, 5, 4, 4 and some with padding.
SIZES = [(56, 112), (112, 50), (112, 112), (90, 112), (168, 56), (40, 168), (70, 50)]
NOMINAL = 5 * 16


@pytest.fixture(scope="module")
def halves(small_checkpoint: object) -> Halves:
    return Halves(str(small_checkpoint))


def of(name: str, budget: float) -> ReductionSettings:
    return reduction(method=name, token_budget=1.0 if name == "dense" else budget)


def is_projected(settings: ReductionSettings) -> bool:
    """Whether rows are taken behind the projector."""
    method, options = settings.resolve()
    return method.needs(options).projected


def images() -> list[Image.Image]:
    return [picture(height, width) for height, width in SIZES]


def same(first: KeptTokens, second: KeptTokens) -> None:
    assert torch.equal(first.place, second.place)
    assert torch.equal(first.budgets, second.budgets)
    assert first.num_dense == second.num_dense
    torch.testing.assert_close(first.features, second.features, atol=1e-4, rtol=1e-5)


BUDGETS = [0.05, 0.1, 0.2, 0.4, 0.8, 37]


@pytest.mark.parametrize(
    ("method", "options", "token_budget"),
    [
        *(("hired", {}, budget) for budget in BUDGETS),
        *((name, {}, budget) for name in GROUPED for budget in (0.1, 0.8)),
        *((name, {"allocation": allocation}, 0.3) for name, allocation in PAIRS),
    ],
)
def test_kept_tokens_equal_the_budget(
    halves: Halves, method: str, options: dict[str, Any], token_budget: float
) -> None:
    settings = reduction(method=method, token_budget=token_budget, **options)
    wanted = int(token_budget * NOMINAL) if token_budget < 1 else int(token_budget)
    kept = halves.encode(images(), settings)
    for (height, width), tokens in zip(SIZES, kept, strict=True):
        layout = halves.spec.layout(height, width)
        assert tokens.num_dense == layout.num_valid
        count = min(wanted, layout.num_valid)
        assert tokens.features.shape == (count, 128 if is_projected(settings) else 64)
        assert tokens.place.shape == (count,)
        assert tokens.budgets.shape == (layout.num_partitions,)
        assert int(tokens.budgets.sum()) == count
    assert any(layout_count == wanted for layout_count in (len(k.place) for k in kept))


def test_the_fraction_can_be_of_the_images_own_partitions(halves: Halves) -> None:
    settings = reduction(token_budget=0.2, budget_basis="image")
    for (height, width), tokens in zip(SIZES, halves.encode(images(), settings), strict=True):
        own = halves.spec.layout(height, width).num_partitions * 16
        assert len(tokens.place) == int(0.2 * own)


@pytest.mark.parametrize("method", SELECTIONS)
@torch.inference_mode()
def test_tokens_are_those_of_their_positions(halves: Halves, method: str) -> None:
    """Features, order and budgets describe the same tokens: all three against the dense model."""
    dense = halves.encode(images(), reduction(method="dense", token_budget=1.0))
    if is_projected(of(method, 0.4)):
        projector = halves.language.projector
        dense = [replace(each, features=projector(each.features)) for each in dense]
    chosen = halves.encode(images(), of(method, 0.4))
    for (height, width), whole, kept in zip(SIZES, dense, chosen, strict=True):
        layout = halves.spec.layout(height, width)
        assert len(whole.place) == whole.num_dense == layout.num_valid
        assert (kept.place.diff() > 0).all()
        at = torch.searchsorted(whole.place, kept.place)
        assert torch.equal(whole.place[at], kept.place)  # never padding
        torch.testing.assert_close(kept.features, whole.features[at], atol=1e-4, rtol=1e-5)
        owner = torch.empty(layout.place.numel(), dtype=torch.int64)
        partition = torch.arange(layout.num_partitions)[:, None].expand(-1, 16)
        owner[layout.place.flatten()] = partition.flatten()
        counts = owner[kept.place].bincount(minlength=layout.num_partitions)
        if method == "hired-upstream":
            assert (counts <= kept.budgets).all()
        else:
            assert torch.equal(counts, kept.budgets)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_results_do_not_depend_on_the_batch(halves: Halves, method: str) -> None:
    settings = of(method, 0.3)
    together = halves.encode(images(), settings)
    backwards = halves.encode(images()[::-1], settings)[::-1]
    for image, first, second in zip(images(), together, backwards, strict=True):
        same(first, second)
        same(first, halves.encode([image], settings)[0])


def test_texts_do_not_depend_on_the_batch(halves: Halves) -> None:
    settings = reduction(method="hired", token_budget=0.3)
    prompts = ["Describe.", "What is in the upper row of it?"] * 3 + ["Read the text."]
    together = halves.generate(
        halves.requests(images(), prompts, settings, "kept-rows"), max_new_tokens=10
    )
    assert len({completion.text for completion in together}) == len(SIZES)
    for image, prompt, completion in zip(images(), prompts, together, strict=True):
        alone = halves.requests([image], [prompt], settings, "kept-rows")
        assert halves.generate(alone, max_new_tokens=10)[0] == completion


def test_hired_is_scores_then_budgets_then_top_tokens(halves: Halves) -> None:
    """The whole chain again for one image, in plain Python on transformers' attention maps."""
    image = picture(90, 112)
    layout = halves.spec.layout(90, 112)
    kept = halves.encode([image], reduction(token_budget=0.4, alpha=0.25))[0]
    initial, final = attention_of(halves, image)
    share = [0.0] * 4
    for patch, sub_image in enumerate(layout.sub_image_of.tolist()):
        share[sub_image] += initial[patch] / sum(initial)
    room = layout.valid.sum(1).tolist()
    budgets = [8, *largest_remainder(share, 32 - 8)]
    assert all(b <= r for b, r in zip(budgets, room, strict=True))  # no cap in this example
    assert kept.budgets.tolist() == budgets
    positions = []
    for partition, budget in enumerate(budgets):
        candidates = layout.valid[partition].nonzero()[:, 0].tolist()
        best = sorted(candidates, key=lambda i: -final[partition][i])[:budget]
        positions += [int(layout.place[partition, i]) for i in best]
    assert kept.place.tolist() == sorted(positions)


def attention_of(halves: Halves, image: Image.Image) -> tuple[list[float], list[list[float]]]:
    """CLS attention summed over heads: full-image at layer 0, all partitions at the last layer."""
    from transformers import LlavaNextForConditionalGeneration

    from hired_core.images.partition import partition_image

    model = LlavaNextForConditionalGeneration.from_pretrained(
        halves.spec.path, dtype=torch.float32, attn_implementation="eager"
    )
    parts = partition_image(image, halves.spec.geometry)
    mean, std = (torch.tensor(v)[:, None, None] for v in (halves.spec.mean, halves.spec.std))
    pixels = (torch.from_numpy(parts) / 255 - mean) / std
    with torch.inference_mode():
        maps = model.model.vision_tower(pixels, output_attentions=True).attentions
    initial = maps[0][0, :, 0, 1:].double().sum(0).tolist()
    return initial, maps[-2][:, :, 0, 1:].double().sum(1).tolist()


def largest_remainder(share: list[float], total: int) -> list[int]:
    whole = [int(s * total) for s in share]
    by_remainder = sorted(range(len(share)), key=lambda i: whole[i] - share[i] * total)
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole


def test_random_looks_at_the_seed_alone(halves: Halves) -> None:
    image, other = picture(112, 112), Image.new("RGB", (112, 112), "navy")
    settings = reduction(method="random", token_budget=0.3)
    # `Halves` seeds by size: both images have the same seed and other content.
    first, second = halves.encode([image, other], settings)
    assert torch.equal(first.place, second.place)
    assert not torch.equal(first.features, second.features)


def test_dense_keeps_everything_whatever_the_token_budget(halves: Halves) -> None:
    for tokens in halves.encode(images(), reduction(method="dense")):
        assert len(tokens.place) == tokens.num_dense == int(tokens.budgets.sum())
    layout = LayoutBatch.stack([layout_112()])
    evidence = Evidence(layout=layout, seeds=torch.zeros(1), max_rows=80)
    for budget in (1, 20, 80):
        found = method_of("dense").reduce(evidence, torch.tensor([budget]), None)
        assert found.count.tolist() == [80]


def test_alpha_is_the_share_of_the_full_image(halves: Halves) -> None:
    for alpha, expected in ((0.0, 0), (0.25, 8), (0.5, 16), (1.0, 16)):
        settings = reduction(token_budget=32, alpha=alpha)
        kept = halves.encode([picture(112, 112)], settings)[0]
        assert int(kept.budgets[0]) == expected


def test_uniform_and_stride_share_evenly_with_the_full_image(halves: Halves) -> None:
    for method in ("uniform", "stride", "random"):
        settings = reduction(method=method, token_budget=32)
        assert halves.encode([picture(112, 112)], settings)[0].budgets.tolist() == [7, 7, 6, 6, 6]


def test_allocation_and_selection_swap_freely(halves: Halves) -> None:
    """One allocation gives all selections the same budgets, and HiRED's are HiRED's."""
    for allocation in ("equal", "content", "globalcom2"):
        found = {
            name: [
                tuple(tokens.budgets.tolist())
                for tokens in halves.encode(
                    images(),
                    reduction(method=name, token_budget=0.3, allocation=allocation, alpha=0.5),
                )
            ]
            for name in GROUPED
        }
        if allocation == "content":
            plain = halves.encode(images(), reduction(method="hired", token_budget=0.3, alpha=0.5))
            found["hired"] = [tuple(tokens.budgets.tolist()) for tokens in plain]
        assert len(set(map(tuple, found.values()))) == 1, found


def layout_112() -> object:
    from hired_core import PartitionLayout

    return PartitionLayout.from_image_size(
        112, 112, pinpoints=[(112, 112)], partition_size=56, patch_size=14
    )


def test_methods_that_use_no_attention_are_given_none(halves: Halves) -> None:
    looks = {name: method_of(name).needs(make_options(name, {})) for name in SELECTIONS}
    names = {name for name, needs in looks.items() if needs == Needs()}
    assert names == {"dense", "stride", "random"}
    for name in names - {"dense"}:
        settings = reduction(method=name, token_budget=0.3)
        assert halves.encode([picture(56, 112)], settings)[0].place.numel() > 0
