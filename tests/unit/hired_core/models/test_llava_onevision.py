"""LLaVA-OneVision: dense parity, shrink included, the cut, budgets in place of the shrink."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil,
)

from hired_core.geometry.anyres import AnyRes
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
from tests.support.processors import onevision, processor_of
from tests.support.settings import reduction
from tests.support.tiled_checkpoints import build_onevision

PROMPTS = ("Describe the image.", "What?", "Look: <image> and say how many there are, please.")
GRIDS = [
    (60 * rows - 7, 60 * cols - 3) for rows in range(1, 7) for cols in range(1 + rows % 2, 7, 2)
]
"""Half of all, in which every number of rows and columns is several times."""
PADDED = [(100, 290), (330, 120), (20, 355), (355, 61), (310, 345), (40, 40)]
Model = tuple[Halves, Original]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_onevision(tmp_path_factory.mktemp("onevision"), seed=5)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Halves(folder), Original(folder, processor_of(folder))


def test_dense_parity_over_grids(model: Model) -> None:
    halves, original = model
    grids = [halves.spec.layout(*size) for size in GRIDS]
    assert len({layout.grid for layout in grids}) == 18
    assert sum(layout.shrunk is not None for layout in grids) > 6
    tokens = check_dense_parity(halves, original, GRIDS, PROMPTS, 4)
    assert len({tuple(row) for row in tokens}) > 10


def test_dense_parity_with_padding(model: Model) -> None:
    check_dense_parity(*model, PADDED, PROMPTS, 8)


@pytest.mark.parametrize("size", [(100, 160), (340, 300)])
def test_several_questions_about_one_image(model: Model, size: tuple[int, int]) -> None:
    check_questions(*model, size, PROMPTS)


def test_every_method_but_the_published_code(model: Model) -> None:
    assert check_every_method(model[0], [(90, 170), (230, 240)], 60) == {"hired-upstream"}


def of_transformers(image: Image.Image) -> np.ndarray:
    sides = [60 * count for count in range(1, 7)]
    processor = LlavaOnevisionImageProcessorPil(
        size={"height": 60, "width": 60},
        image_grid_pinpoints=[[h, w] for h in sides for w in sides],
        do_rescale=False,
        do_normalize=False,
    )
    return np.asarray(processor(image, return_tensors="np")["pixel_values"][0])


@settings(max_examples=12, deadline=None)
@given(height=st.integers(15, 400), width=st.integers(15, 400))
def test_the_cut_is_transformers_own(height: int, width: int) -> None:
    sides = [60 * count for count in range(1, 7)]
    points = tuple((h, w) for h in sides for w in sides)
    geometry = AnyRes(pinpoints=points, partition_size=60, patch_size=14, most_sub_images=9)
    check_cut(geometry, of_transformers, (height, width))


def test_a_budget_replaces_the_shrink(model: Model) -> None:
    """Rows are tokens of the whole grid as they are, more of it than the dense model has left."""
    halves, _ = model
    layout = halves.spec.layout(340, 340)
    assert layout.shrunk == (12, 12) and layout.num_dense == 16 + 144
    assert layout.num_valid > 2 * layout.num_dense
    chosen = reduction(method="stride", budget=200)
    (kept,) = halves.encode([picture(340, 340)], chosen)
    assert len(kept.place) == 200 and kept.num_dense == 160
    assert int(kept.place.max()) > 16 + 144
    (whole,) = halves.encode([picture(340, 340)], reduction(budget=0.999, budget_basis="image"))
    assert len(whole.place) == 159


def test_places_in_the_resized_grid(model: Model) -> None:
    """Of kept tokens, where the rows of the unmodified model are that they fall in."""
    layout = model[0].spec.layout(340, 340)
    assert layout.shrunk == (12, 12) and layout.stitched == (24, 24)
    (top, left), (rows, cols) = layout.unpadded()
    assert (top, left, rows, cols) == (0, 0, 24, 24)
    place = torch.tensor([3, 16, 17, 16 + 24 + 5, 16 + 24 * 23 + 23])
    expected = [3, 16, 16, 16 + 2, 16 + 11 * 13 + 11]
    assert dense_positions(place, layout, "none").tolist() == [*expected, 16 + 12 * 13]
    ends = dense_positions(place, layout, "kept-rows")
    sequence = visual_sequence(place, layout, "kept-rows")
    assert ends[:-1][sequence < 0].tolist() == [16 + 12, 16 + 12, 16 + 11 * 13 + 12]


def test_received_attention_stands_for_cls(model: Model) -> None:
    """Top tokens of the one partition of a budget, from transformers' own maps."""
    halves, original = model
    original.model.set_attn_implementation("eager")
    image = picture(60, 60)
    inputs = original.processor(images=[image], text=["<image>"], return_tensors="pt")
    with torch.inference_mode():
        maps = original.model.model.vision_tower(
            inputs["pixel_values"][0], output_attentions=True
        ).attentions[-1]
    original.model.set_attn_implementation("sdpa")
    (kept,) = halves.encode([image], reduction(method="hired", budget=6, alpha=1.0))
    best = maps[0].sum(0).mean(0).argsort(descending=True)[:6]
    assert kept.place.tolist() == sorted(best.tolist())


PUBLISHED = {
    "model_type": "llava_onevision",
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 26,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
        "vision_use_head": False,
    },
    "image_token_index": 151646,
    "vision_aspect_ratio": "anyres_max_9",
    "vision_feature_layer": -1,
    "vision_feature_select_strategy": "full",
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}
TEXTS = {
    "0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
             "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 152000},
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
           "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
}  # fmt: skip
IMAGE = {
    "size": {"height": 384, "width": 384},
    "resample": 3,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "image_processor_type": "LlavaOnevisionImageProcessor",
    "do_pad": True,
    "image_grid_pinpoints": [[384 * h, 384 * w] for h in range(1, 7) for w in range(1, 7)],
}
SIX = [(480, 640), (336, 336), (1080, 1920), (3000, 2000), (600, 2400), (2304, 2304)]


@pytest.mark.parametrize("name", TEXTS)
def test_the_published_configurations(tmp_path: Path, model: Model, name: str) -> None:
    text = {"model_type": "qwen2", "max_position_embeddings": 32768} | TEXTS[name]
    spec = load_spec(str(write_published(tmp_path, PUBLISHED | {"text_config": text}, IMAGE)))
    assert (spec.num_patches, spec.max_partitions, spec.feature_layer) == (729, 37, 25)
    assert spec.nominal_tokens == 729 + 7938 and not spec.has_cls
    for each in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / each).write_bytes((Path(model[0].spec.path) / each).read_bytes())
    told = onevision(tmp_path)._get_num_multimodal_tokens(image_sizes=SIX)["num_image_tokens"]
    for size, count in zip(SIX, told, strict=True):
        layout = spec.layout(*size)
        dense = layout.resized() if layout.shrunk else layout
        every = dense.place[dense.valid].sort().values
        assert len(visual_sequence(every, dense, "all")) == count
        assert count <= spec.max_visual_positions(spec.nominal_tokens, "all")
        assert layout.num_dense <= spec.nominal_tokens


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("vision_aspect_ratio", "pad", "vision_aspect_ratio 'pad'"),
        ("vision_feature_select_strategy", "default", "only vision_feature_select_strategy 'full'"),
    ],
)
def test_other_configurations_are_refused(
    folder: Path, tmp_path: Path, key: str, value: str, message: str
) -> None:
    for path in folder.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {key: value}))
    with pytest.raises(CheckpointError, match=message):
        load_spec(str(tmp_path))


def test_the_published_geometry_on_thin_layers(tmp_path: Path) -> None:
    folder = build_onevision(tmp_path, seed=8, size=384, max_position_embeddings=16384)
    model = Halves(folder), Original(folder, processor_of(folder))
    assert model[0].spec.nominal_tokens == 8667
    check_dense_parity(*model, [(1200, 1500)], PROMPTS, 2)
