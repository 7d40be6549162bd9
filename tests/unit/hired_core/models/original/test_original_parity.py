"""LLaVA's own format answers as its twin in transformers' format does, token for token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from hired_core.images.partition import partition_image
from tests.support.family_checks import (
    DENSE,
    check_dense_parity,
    check_every_method,
    check_questions,
)
from tests.support.halves import Halves, picture
from tests.support.original_checkpoints import TOWER, Twin, build_original, spoil, twin_of
from tests.support.settings import reduction

SIZES = [(56, 56), (56, 112), (200, 70), (31, 47), (300, 301), (57, 56)]
PROMPTS = ["Describe the image.", "What?", "USER: <image>\nRead the text. ASSISTANT:"]
WHOLE = ["USER: <image>\nRead the text. ASSISTANT:"] * len(SIZES)

CASES = {
    "1.5": {"aspect": "pad", "tower": "beside"},
    "1.5, tower inside": {"aspect": "pad", "tower": "inside"},
    "ShareGPT4V, cropped": {"aspect": "square", "tower": "both sides", "kind": "share4v"},
    "1.6": {"aspect": "anyres", "tower": "inside"},
    "1.6, tower in its folder": {"aspect": "anyres", "tower": "in folder"},
    "Mistral": {"aspect": "anyres", "kind": "llava_mistral", "sliding_window": None},
    "Qwen": {"aspect": "anyres", "kind": "llava_qwen"},
}


@pytest.mark.parametrize("name", CASES)
def test_dense_parity_and_every_method(name: str, tmp_path: Path) -> None:
    folder = build_original(tmp_path / "model", seed=5, **CASES[name])  # type: ignore[arg-type]  # By case.
    halves, twin = Halves(folder), Twin(folder)
    assert halves.spec.family == twin.model.config.model_type
    found = check_dense_parity(halves, twin, SIZES, PROMPTS, 8)
    assert len({tuple(tokens) for tokens in found}) >= len(found) - 1
    check_questions(halves, twin, (80, 60), ["What?", "Who is it?", "Read."])
    assert check_every_method(halves, SIZES, 5) == set()


@pytest.mark.parametrize("aspect", ["pad", "anyres"])
def test_budgets_keep_what_they_keep_of_the_twin(aspect: str, tmp_path: Path) -> None:
    folder = build_original(tmp_path / "model", seed=6, aspect=aspect)
    own, theirs = Halves(folder), Halves(twin_of(folder))
    images = [picture(*size) for size in SIZES]
    for method, budget in (("hired", 0.3), ("distinct", 0.5), ("visionzip", 0.25), ("dense", 1)):
        settings = reduction(method=method, budget=budget)
        requests = [each.requests(images, WHOLE, settings, "all") for each in (own, theirs)]
        for one, other in zip(*requests, strict=True):
            assert torch.equal(one.features, other.features)
            assert torch.equal(one.sequence, other.sequence)
            assert (one.before, one.after) == (other.before, other.after)
        found, expected = (
            half.generate(each, max_new_tokens=6)
            for half, each in zip((own, theirs), requests, strict=True)
        )
        assert found == expected


def test_weights_inside_go_before_those_of_the_tower_that_is_named(tmp_path: Path) -> None:
    """LLaVA-1.6 trained its tower on; what its name stands for is another."""
    inside = build_original(tmp_path / "inside", seed=7, tower="inside")
    beside = build_original(tmp_path / "beside", seed=7, tower="beside")
    image = [picture(70, 120)]
    before = [Halves(each).encode(image, DENSE)[0].features for each in (inside, beside)]
    assert torch.equal(*before)
    spoil(tmp_path / TOWER / "model.safetensors")
    after = [Halves(each).encode(image, DENSE)[0].features for each in (inside, beside)]
    assert torch.equal(before[0], after[0]) and not torch.allclose(before[1], after[1])


def test_padding_is_kept_by_no_budget_and_seen_by_the_dense_model(tmp_path: Path) -> None:
    """The best tokens of the image itself, by transformers' own attention maps."""
    halves = Halves(build_original(tmp_path / "model", seed=8))
    eager = AutoModelForImageTextToText.from_pretrained(
        twin_of(tmp_path / "model"), dtype=torch.float32, attn_implementation="eager"
    )
    geometry = halves.spec.geometry
    mean, std = (torch.tensor(v)[:, None, None] for v in (halves.spec.mean, halves.spec.std))
    for size in SIZES:
        image, layout = picture(*size), geometry.layout(*size)
        pixels = (torch.from_numpy(partition_image(image, geometry)) / 255 - mean) / std
        with torch.inference_mode():
            maps = eager.model.vision_tower(pixels, output_attentions=True).attentions
        scores = maps[-2][0, :, 0, 1:].sum(0).masked_fill(~layout.valid[0], -1)
        best = sorted(scores.argsort(descending=True)[:3].tolist())
        kept = halves.encode([image], reduction(budget=3))[0]
        assert kept.place.tolist() == best and kept.num_dense == 16
        most = halves.encode([image], reduction(budget=0.99))[0]
        assert len(most.place) == min(15, layout.num_valid)
        dense = halves.encode([image], DENSE)[0]
        assert dense.place.tolist() == list(range(16)) and dense.budgets.tolist() == [16]
        assert len(halves.encode([image], reduction(budget=1.0))[0].place) == 16
