"""InternVL: dense parity over all grids, tiles and thumbnail, tokens of several patches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen3Config
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from hired_core.geometry.aspect_tiles import AspectTiles
from hired_core.geometry.sequence import visual_sequence
from hired_core.models.checkpoint import CheckpointError
from tests.support.family_checks import (
    check_cut,
    check_dense_parity,
    check_every_method,
    check_questions,
    write_published,
)
from tests.support.halves import Halves, Original, picture
from tests.support.models import load_spec
from tests.support.processors import internvl, processor_of
from tests.support.settings import reduction
from tests.support.tiled_checkpoints import build_internvl

TILES = AspectTiles(partition_size=56, patch_size=14, merge=2)
IMAGE = "<IMG_CONTEXT>"
PROMPTS = ("Describe the image.", "What?", f"Look: {IMAGE} and say how many there are, please.")
GRIDS = [(r, c) for r in range(1, 13) for c in range(1, 13) if r * c <= 12]
SIZES = [(40, 50), (100, 90), (300, 301), (31, 470), (600, 60)]

Model = tuple[Halves, Original]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_internvl(tmp_path_factory.mktemp("internvl"), seed=5)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Halves(folder), Original(folder, processor_of(folder))


def test_dense_parity_over_grids(model: Model) -> None:
    sizes = [(56 * rows, 56 * cols) for rows, cols in GRIDS]
    assert [TILES.grid(size) for size in sizes] == GRIDS and len(GRIDS) == 35
    tokens = check_dense_parity(*model, sizes[::2], PROMPTS, 3)
    assert len({tuple(row) for row in tokens}) > 12


def test_dense_parity_of_other_sizes(model: Model) -> None:
    check_dense_parity(*model, SIZES, PROMPTS, 8)


def test_dense_parity_with_norms_and_another_decoder(tmp_path: Path) -> None:
    """As InternVL3.5, and as the largest vision tower: Qwen3; norms of queries and keys."""
    more = {"head_dim": 40, "num_hidden_layers": 3}
    folder = build_internvl(tmp_path, seed=6, decoder=Qwen3Config, norms=True, **more)
    model = Halves(folder), Original(folder, processor_of(folder))
    assert model[0].language.decoder.config.model_type == "qwen3"
    check_dense_parity(*model, SIZES[:3], PROMPTS, 8)


def test_several_questions_about_one_image(model: Model) -> None:
    check_questions(*model, (100, 160), PROMPTS)


def test_every_method(model: Model) -> None:
    assert check_every_method(model[0], [(90, 170), (340, 340), (50, 50)], 12) == set()


def of_transformers(image: Image.Image) -> np.ndarray:
    """With the thumbnail in front, where this project has it."""
    processor = GotOcr2ImageProcessorPil(
        size={"height": 56, "width": 56},
        crop_to_patches=True,
        do_rescale=False,
        do_normalize=False,
    )
    return np.roll(np.asarray(processor(image, return_tensors="np")["pixel_values"]), 1, axis=0)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(8, 400), width=st.integers(8, 400))
def test_the_cut_is_transformers_own(height: int, width: int) -> None:
    check_cut(TILES, of_transformers, (height, width))


def test_the_thumbnail_comes_last_and_only_with_tiles() -> None:
    layout = TILES.layout(112, 168)
    assert layout.grid == (2, 3) and layout.num_partitions == 7
    assert layout.place[0].tolist() == [24, 25, 26, 27] and layout.place[1].tolist() == [0, 1, 2, 3]
    assert TILES.layout(50, 50).num_partitions == 1
    # The right column of the thumbnail's tokens lies over the last tile of each row.
    assert layout.sub_image_of.tolist() == [0, 2, 3, 5]
    assert layout.centre[6][3].tolist() == pytest.approx([7 / 8, 11 / 12])


def test_one_run_between_two_marks() -> None:
    layout = TILES.layout(112, 112)
    every = layout.place.flatten().sort().values
    sequence = visual_sequence(every, layout, "all")
    assert sequence.tolist() == [-1, *range(20), -2]
    assert visual_sequence(every[3:5], layout, "none").tolist() == [-1, 0, 1, -2]
    assert TILES.max_marks(1) == 2


def test_scores_of_tokens_are_sums_over_their_patches(model: Model) -> None:
    """Of transformers' own maps, with the CLS token's attention at the last layer."""
    halves, original = model
    original.model.set_attn_implementation("eager")
    inputs = original.processor(images=[picture(50, 50)], text=[IMAGE], return_tensors="pt")
    with torch.inference_mode():
        tower = original.model.model.vision_tower
        maps = tower(inputs["pixel_values"], output_attentions=True).attentions[-1]
    original.model.set_attn_implementation("sdpa")
    patches = maps[0, :, 0, 1:].sum(0).view(4, 4)
    scores = patches.view(2, 2, 2, 2).sum((1, 3)).flatten()
    (kept,) = halves.encode([picture(50, 50)], reduction(method="hired", budget=2))
    assert kept.place.tolist() == sorted(scores.argsort(descending=True)[:2].tolist())
    assert kept.projected and kept.features.shape == (2, 128)


PUBLISHED = {
    "model_type": "internvl",
    "vision_config": {
        "model_type": "internvl_vision",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": [448, 448],
        "patch_size": [14, 14],
        "attention_bias": True,
        "layer_scale_init_value": 0.1,
        "norm_type": "layer_norm",
        "use_mean_pooling": True,
    },
    "downsample_ratio": 0.5,
    "image_seq_length": 256,
    "image_token_id": 151667,
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "default",
    "torch_dtype": "bfloat16",
}
TEXTS = {
    "1B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
           "num_attention_heads": 14, "num_key_value_heads": 2},
    "2B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
           "num_attention_heads": 12, "num_key_value_heads": 2},
}  # fmt: skip
PROCESSOR = {
    "crop_to_patches": False,
    "min_patches": 1,
    "max_patches": 12,
    "size": {"height": 448, "width": 448},
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "image_processor_type": "GotOcr2ImageProcessorFast",
}
SIX = [(480, 640), (448, 448), (1080, 1920), (3000, 2000), (600, 6000), (300, 200)]


@pytest.mark.parametrize("name", TEXTS)
def test_the_published_configurations(tmp_path: Path, folder: Path, name: str) -> None:
    text = {"model_type": "qwen2", "max_position_embeddings": 32768, "vocab_size": 151674}
    config = PUBLISHED | {"text_config": text | TEXTS[name]}
    spec = load_spec(str(write_published(tmp_path, config, PROCESSOR)))
    assert (spec.num_patches, spec.num_tokens, spec.max_partitions) == (1024, 256, 13)
    assert (spec.nominal_tokens, spec.feature_layer, spec.feature_width) == (3328, 23, 4096)
    for each in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / each).write_bytes((folder / each).read_bytes())
    told = internvl(tmp_path)._get_num_multimodal_tokens(image_sizes=SIX)
    for size, count, tiles in zip(
        SIX, told["num_image_tokens"], told["num_image_patches"], strict=True
    ):
        layout = spec.layout(*size)
        every = layout.place.flatten().sort().values
        assert layout.num_partitions == tiles
        assert len(visual_sequence(every, layout, "all")) == count
        assert count <= spec.max_visual_positions(spec.nominal_tokens, "all")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"downsample_ratio": 0.3}, "56 pixels hold no whole tokens of 3 patches a side"),
        ({"vision_feature_select_strategy": "full"}, "select_strategy 'default'"),
    ],
)
def test_other_configurations_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    content = json.loads((folder / "config.json").read_text())
    image = json.loads((folder / "preprocessor_config.json").read_text())
    with pytest.raises(CheckpointError, match=message):
        load_spec(str(write_published(tmp_path, content | change, image)))


def test_the_published_geometry_on_thin_layers(tmp_path: Path) -> None:
    folder = build_internvl(tmp_path, seed=8, size=448)
    model = Halves(folder), Original(folder, processor_of(folder))
    assert model[0].spec.nominal_tokens == 3328
    check_dense_parity(*model, [(480, 640)], PROMPTS, 2)
