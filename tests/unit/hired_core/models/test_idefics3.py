"""Idefics3 and SmolVLM: dense parity, names between tiles, what a budget leaves of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from hired_core.geometry.named_tiles import NamedTiles
from hired_core.geometry.sequence import dense_positions, visual_sequence
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
from tests.support.processors import idefics3, processor_of
from tests.support.settings import reduction
from tests.support.tiled_checkpoints import build_idefics3

TILES = NamedTiles(partition_size=60, patch_size=14, merge=2, longest=240, lines_join=False)
JOINED = NamedTiles(partition_size=60, patch_size=14, merge=2, longest=240, lines_join=True)
PROMPTS = ("Describe the image.", "What?", "Look: <image> and say how many there are, please.")
SIZES = [(60, 60), (200, 100), (350, 300), (100, 360), (360, 50), (50, 340), (300, 217), (217, 300)]
"""Among them every grid: 4 tiles along the longer side, 1 to 4 along the other."""

Model = tuple[Halves, Original]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_idefics3(tmp_path_factory.mktemp("idefics3"), seed=5)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Halves(folder), Original(folder, processor_of(folder))


def test_dense_parity_over_every_grid(model: Model) -> None:
    grids = {TILES.layout(*size).grid for size in SIZES}
    assert grids == {(4, n) for n in range(1, 5)} | {(n, 4) for n in range(1, 5)}
    tokens = check_dense_parity(*model, SIZES, PROMPTS, 6)
    assert len({tuple(row) for row in tokens}) == len(SIZES)


@pytest.mark.parametrize("seed", [7])
def test_dense_parity_of_smolvlm_where_line_ends_join(tmp_path: Path, seed: int) -> None:
    folder = build_idefics3(tmp_path, seed=seed, kind="smolvlm", lines_join=True)
    model = Halves(folder), Original(folder, processor_of(folder))
    assert model[0].spec.family == "smolvlm" and model[0].spec.geometry == JOINED
    check_dense_parity(*model, SIZES[:4], PROMPTS, 6)


def test_several_questions_about_one_image(model: Model) -> None:
    check_questions(*model, (100, 160), PROMPTS)


def test_every_method_but_the_published_code(model: Model) -> None:
    assert check_every_method(model[0], [(90, 170), (340, 340)], 12) == {"hired-upstream"}


def of_transformers(image: Image.Image, **settings: Any) -> np.ndarray:
    """With the full-image in front, where this project has it."""
    processor = Idefics3ImageProcessorPil(
        size={"longest_edge": 240},
        max_image_size={"longest_edge": 60},
        do_rescale=False,
        do_normalize=False,
        **settings,
    )
    return np.roll(np.asarray(processor(image, return_tensors="np")["pixel_values"][0]), 1, axis=0)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(8, 400), width=st.integers(8, 400))
def test_the_cut_is_transformers_own(height: int, width: int) -> None:
    check_cut(TILES, of_transformers, (height, width))


@pytest.mark.parametrize("size", [(3, 400), (400, 3), (1, 1)])
def test_extreme_images_are_cut_as_transformers_does(size: tuple[int, int]) -> None:
    check_cut(TILES, of_transformers, size)


def said(keep: list[int], geometry: NamedTiles = TILES) -> str:
    """What stands in the sequence of a 2 x 4 grid where these partitions keep their first token;
    0 is the full-image."""
    layout = geometry.layout(100, 360)
    assert layout.grid == (2, 4) and geometry.max_along == 4
    place = layout.place[keep, 0].sort().values
    names = {0: "#", 1: "*", 2: "/", 3: "//"}
    names |= {4 + 4 * row + col: f"{row}{col}" for row in range(2) for col in range(4)}
    sequence = visual_sequence(place, layout, "none").tolist()
    return " ".join("." if entry >= 0 else names[-1 - entry] for entry in sequence)


def test_marks_of_tiles_left_empty_are_left_out() -> None:
    assert said([0, 1, 2, 8]) == "# 00 . # 01 . / # 13 . / / # * . #"
    assert said([0, 7]) == "# 12 . / / # * . #"
    assert said([5]) == "# 10 . / #"
    assert said([0]) == "# * . #"
    assert said([0, 1, 2, 8], JOINED) == "# 00 . # 01 . / # 13 . // # * . #"
    assert said([0, 3], JOINED) == "# 02 . // # * . #"
    assert said([3, 5], JOINED) == "# 02 . / # 10 . / #"
    assert said([0], JOINED) == "# * . #"


@pytest.mark.parametrize("geometry", [TILES, JOINED])
def test_marks_are_counted_and_bounded(geometry: NamedTiles) -> None:
    for size in SIZES:
        layout = geometry.layout(*size)
        for kept in (1, 5, 9, layout.num_valid):
            place = torch.linspace(0, layout.num_valid - 1, kept).long()
            sequence = visual_sequence(place, layout, "kept-rows")
            assert len(sequence) - kept <= geometry.max_marks(kept)
            positions = dense_positions(place, layout, "kept-rows")
            assert len(positions) == len(sequence) + 1
            assert positions.diff().min() >= (0 if geometry.lines_join else 1)
        assert positions.tolist() == list(range(len(sequence) + 1))


def test_what_is_left_out_is_no_prompt_token(model: Model) -> None:
    halves, _ = model
    chosen = reduction(method="hired", budget=6, alpha=0.5)
    (kept,) = halves.encode([picture(340, 340)], chosen)
    (request,) = halves.requests([picture(340, 340)], ["What?"], chosen, "none")
    empty = int((kept.budgets == 0).sum())
    assert empty > 8
    marks = request.sequence[request.sequence < 0]
    text = len(halves.template.render("What?")) and sum(map(len, (request.before, request.after)))
    assert request.num_prompt_tokens == text + 6 + len(marks)
    assert 2 * (17 - empty) <= len(marks) <= 2 * (17 - empty) + 6


def test_one_tile_alone(tmp_path: Path) -> None:
    """An image that is one tile has no names but the full-image's."""
    geometry = NamedTiles(partition_size=60, patch_size=14, merge=2, longest=60, lines_join=False)
    layout = geometry.layout(100, 90)
    assert (layout.num_partitions, geometry.max_partitions, geometry.nominal_tokens) == (1, 1, 4)
    assert visual_sequence(torch.arange(4), layout, "all").tolist() == [-1, -2, 0, 1, 2, 3, -1]


def test_received_attention_is_summed_over_patches(model: Model) -> None:
    """Of the full-image, which is last in transformers' pixels."""
    halves, original = model
    original.model.set_attn_implementation("eager")
    inputs = original.processor(images=[picture(90, 80)], text=["<image>"], return_tensors="pt")
    with torch.inference_mode():
        tower = original.model.model.vision_model
        maps = tower(inputs["pixel_values"][0], output_attentions=True).attentions[-1]
    original.model.set_attn_implementation("sdpa")
    received = maps[-1].sum(0).mean(0).view(2, 2, 2, 2).sum((1, 3)).flatten()
    (kept,) = halves.encode([picture(90, 80)], reduction(method="hired", budget=2, alpha=1.0))
    full = halves.spec.layout(90, 80).place[0]
    assert kept.place.tolist() == sorted(full[received.argsort(descending=True)[:2]].tolist())


VISIONS = {
    "256M": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
             "num_attention_heads": 12, "image_size": 512, "patch_size": 16},
    "2.2B": {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27,
             "num_attention_heads": 16, "image_size": 384, "patch_size": 14},
}  # fmt: skip
TEXTS = {
    "256M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
             "num_attention_heads": 9, "num_key_value_heads": 3},
    "500M": {"hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32,
             "num_attention_heads": 15, "num_key_value_heads": 5},
    "2.2B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
             "num_attention_heads": 32, "num_key_value_heads": 32},
}  # fmt: skip
SIX = [(480, 640), (512, 512), (1080, 1920), (3000, 2000), (600, 6000), (300, 200)]


@pytest.mark.parametrize(
    ("name", "tile", "scale", "tokens", "nominal", "width"),
    [("256M", 512, 4, 64, 1088, 12288), ("500M", 512, 4, 64, 1088, 12288),
     ("2.2B", 384, 3, 81, 1377, 10368)],
)  # fmt: skip
def test_the_published_configurations(
    tmp_path: Path, folder: Path, name: str, tile: int, scale: int, tokens: int, nominal: int,
    width: int,
) -> None:  # fmt: skip
    vision = VISIONS.get(name, VISIONS["256M"]) | {"model_type": "smolvlm_vision"}
    text = {"model_type": "llama", "max_position_embeddings": 8192, "vocab_size": 49280}
    config = {
        "model_type": "smolvlm",
        "vision_config": vision,
        "text_config": text | TEXTS[name],
        "scale_factor": scale,
        "image_token_id": 49190,
    }
    image = {
        "do_image_splitting": True,
        "do_resize": True,
        "resample": 1,
        "size": {"longest_edge": 4 * tile},
        "max_image_size": {"longest_edge": tile},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    for each in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / each).write_bytes((folder / each).read_bytes())
    spec = load_spec(str(write_published(tmp_path, config, image)))
    assert (spec.num_tokens, spec.max_partitions, spec.nominal_tokens) == (tokens, 17, nominal)
    assert (spec.feature_width, spec.has_cls) == (width, False)
    own = idefics3(tmp_path)
    told = own._get_num_multimodal_tokens(image_sizes=SIX)
    for size, count in zip(SIX, told["num_image_tokens"], strict=True):
        layout = spec.layout(*size)
        _, rows, cols = own.image_processor.get_number_of_image_patches(*size, {})
        assert layout.grid == (rows, cols)
        every = layout.place.flatten().sort().values
        assert len(visual_sequence(every, layout, "all")) == count
        assert count <= spec.max_visual_positions(spec.nominal_tokens, "all")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("preprocessor_config.json", {"do_image_splitting": False}, "do_image_splitting is False"),
        ("preprocessor_config.json", {"resample": 3}, "resample is 3"),
        ("config.json", {"scale_factor": 3}, "60 pixels hold no whole tokens of 3 patches"),
    ],
)
def test_other_configurations_are_refused(
    folder: Path, tmp_path: Path, file: str, change: dict[str, object], message: str
) -> None:
    for path in folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((folder / file).read_text())
    (tmp_path / file).write_text(json.dumps(content | change))
    with pytest.raises(CheckpointError, match=message):
        load_spec(str(tmp_path))


@pytest.mark.parametrize(
    "sizes",
    [{"size": 512, "patch": 16, "scale": 4}, {"size": 384, "patch": 14, "scale": 3}],
    ids=["256M", "2.2B"],
)
def test_the_published_geometry_on_thin_layers(tmp_path: Path, sizes: dict[str, int]) -> None:
    folder = build_idefics3(tmp_path, seed=8, kind="smolvlm", **sizes)
    model = Halves(folder), Original(folder, processor_of(folder))
    assert model[0].spec.nominal_tokens in (1088, 1377)
    check_dense_parity(*model, [(480, 640)], PROMPTS, 3)
