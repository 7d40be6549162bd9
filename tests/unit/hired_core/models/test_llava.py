"""LLaVA-1.5: cut, dense parity with transformers, HiRED's single-image rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoModelForImageTextToText
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from hired_core.geometry.canvas import LayoutError
from hired_core.geometry.square import Square
from hired_core.images.fast_partition import partition_pixels
from hired_core.images.partition import partition_image
from hired_core.models.checkpoint import CheckpointError
from tests.support.checkpoints import build_llava
from tests.support.family_checks import check_dense_parity
from tests.support.halves import Halves, Original, picture
from tests.support.models import load_spec
from tests.support.settings import reduction

SQUARE = Square(partition_size=56, patch_size=14)
SIZES = [(56, 56), (56, 112), (200, 70), (31, 47), (300, 301), (57, 56)]
PROMPTS = ["Describe the image.", "What?", "USER: <image>\nRead the text. ASSISTANT:"] * 2

Model = tuple[Halves, Original]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = build_llava(tmp_path_factory.mktemp("llava"), seed=5)
    return Halves(folder), Original(folder)


def of_transformers(image: Image.Image, size: int) -> np.ndarray:
    """uint8 [1, 3, S, S] of transformers' own processor before it rescales and normalises."""
    processor = LlavaImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        do_rescale=False,
        do_normalize=False,
    )
    return np.asarray(processor(image, return_tensors="np")["pixel_values"])


@settings(max_examples=60)
@given(height=st.integers(8, 400), width=st.integers(8, 400))
def test_the_cut_is_transformers_own(height: int, width: int) -> None:
    image = picture(height, width)
    expected = of_transformers(image, 56)
    found = partition_image(image, SQUARE)
    assert found.shape == (1, 3, 56, 56) and found.dtype == np.uint8
    assert np.array_equal(found, expected)
    fast = partition_pixels(np.array(image), SQUARE)
    # On noise the order of the two passes shows; see `partition_pixels`.
    assert np.abs(fast.astype(int) - expected).mean() < 0.5


def test_the_longest_images_are_refused() -> None:
    assert SQUARE.needed_size((100, 10_000)) == (56, 5600)
    for size in ((1, 101), (10_100, 100)):
        with pytest.raises(LayoutError, match="over 100 times as long as it is wide"):
            SQUARE.check(size)


def test_one_partition_no_sub_image_no_row_end() -> None:
    layout = SQUARE.layout(300, 200)
    assert layout.valid.shape == (1, 16) and layout.valid.all()
    assert layout.place.tolist() == [list(range(16))] and layout.grid == (0, 0)
    assert SQUARE.max_row_ends() == 0


def test_dense_parity_singly_and_in_one_batch(model: Model) -> None:
    halves, original = model
    images = [picture(*size) for size in SIZES]
    texts = [halves.template.render(prompt) for prompt in PROMPTS]
    dense = reduction(method="dense")
    singly = [original.generate([i], [t], 10) for i, t in zip(images, texts, strict=True)]
    expected = [tokens[0] for tokens, _ in singly]
    requests = halves.requests(images, PROMPTS, dense, "all")
    assert [r.num_prompt_tokens for r in requests] == [lengths[0] for _, lengths in singly]
    together = halves.generate(requests, max_new_tokens=10)
    assert [completion.token_ids for completion in together] == expected
    assert len({tuple(tokens) for tokens in expected}) == len(expected)
    for image, prompt, tokens in zip(images, PROMPTS, expected, strict=True):
        alone = halves.requests([image], [prompt], dense, "all")
        assert halves.generate(alone, max_new_tokens=10)[0].token_ids == tokens


def test_several_questions_about_one_image(model: Model) -> None:
    """They share the tensors of the image, by which the engine reads it once."""
    halves, original = model
    image = picture(80, 60)
    expected = [original.generate([image], [halves.template.render(p)], 8)[0][0] for p in PROMPTS]
    requests = halves.requests([image], PROMPTS[:1], reduction(method="dense"), "all")
    shared = [
        type(requests[0])(
            features=requests[0].features,
            sequence=requests[0].sequence,
            before=before,
            after=after,
        )
        for before, after in map(halves.template.token_ids, PROMPTS)
    ]
    found = halves.generate(shared, max_new_tokens=8)
    assert [completion.token_ids for completion in found] == expected


def test_hired_gives_the_one_partition_the_whole_budget(model: Model) -> None:
    """Whatever alpha; top tokens by CLS attention of the feature layer, from transformers' maps."""
    halves, _ = model
    eager = AutoModelForImageTextToText.from_pretrained(
        halves.spec.path, dtype=torch.float32, attn_implementation="eager"
    )
    mean, std = (torch.tensor(v)[:, None, None] for v in (halves.spec.mean, halves.spec.std))
    images = [picture(*size) for size in SIZES]
    for alpha in (0.0, 0.5, 1.0):
        kept = halves.encode(images, reduction(budget=5, alpha=alpha))
        for image, tokens in zip(images, kept, strict=True):
            pixels = (torch.from_numpy(partition_image(image, SQUARE)) / 255 - mean) / std
            with torch.inference_mode():
                maps = eager.model.vision_tower(pixels, output_attentions=True).attentions
            scores = maps[-2][0, :, 0, 1:].sum(0)
            assert tokens.place.tolist() == sorted(scores.argsort(descending=True)[:5].tolist())
            assert tokens.budgets.tolist() == [5]


@pytest.mark.parametrize("name", [
    "hired-upstream", "uniform", "stride", "random", "average-pool", "grid-downsample",
    "token-packing", "image-downsample",
])  # fmt: skip
def test_every_method_runs(model: Model, name: str) -> None:
    halves, _ = model
    kept = halves.encode([picture(*size) for size in SIZES], reduction(method=name, budget=0.25))
    assert [len(tokens.place) for tokens in kept] == [4] * len(SIZES)


def test_memory_and_counts(model: Model) -> None:
    halves, _ = model
    spec = halves.spec
    assert (spec.max_partitions, spec.nominal_tokens, spec.family) == (1, 16, "llava")
    assert spec.max_visual_positions(16, "all") == 16
    assert halves.language.separators.shape == (0, 128)


def _set(folder: Path, key: str, value: Any) -> None:
    path = folder / "processor_config.json"
    content = json.loads(path.read_text())
    content["image_processor"][key] = value
    path.write_text(json.dumps(content))


def test_other_cuts_are_refused(tmp_path: Path) -> None:
    folder = build_llava(tmp_path, seed=6)
    _set(folder, "do_center_crop", False)
    with pytest.raises(CheckpointError, match="image processor's do_center_crop is False"):
        load_spec(str(folder))


def test_a_processor_that_pads(tmp_path: Path) -> None:
    """In the colour of its own mean, in transformers' format as in LLaVA's."""
    folder = build_llava(tmp_path, seed=6)
    _set(folder, "do_pad", True)
    _set(folder, "image_mean", [0.5, 0.25, 0.999])
    assert load_spec(str(folder)).geometry == replace(SQUARE, pad=(127, 63, 254))
    check_dense_parity(Halves(folder), Original(folder), SIZES, PROMPTS, 6)
