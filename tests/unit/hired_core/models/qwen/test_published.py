"""Published configurations: tokens, cells and positions of six sizes are those of transformers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from hired_core.geometry.native import Native
from hired_core.geometry.sequence import grid_positions
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.sizing import max_length, rotary_length
from tests.support.models import load_spec, weight_counts
from tests.support.published_qwen import PUBLISHED, write_published

SIZES = [(336, 336), (1008, 1344), (224, 1800), (40, 40), (3000, 5000), (60, 6000)]
TOKENS = {
    "Qwen2-VL-2B-Instruct": (12 * 12, 36 * 48, 8 * 64, 2 * 2, 99 * 165, 2 * 214),
    "Qwen2.5-VL-3B-Instruct": (12 * 12, 36 * 48, 8 * 64, 2 * 2, 99 * 165, 2 * 214),
    "Qwen3-VL-4B-Instruct": (10 * 10, 32 * 42, 7 * 56, 8 * 8, 94 * 156, 2 * 188),
}
"""By hand: sides over 28, or 32, pixels, within least and most pixels."""
NAMES = list(PUBLISHED)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    return write_published(name, tmp_path)


def test_what_the_files_say(name: str, folder: Path) -> None:
    spec = load_spec(str(folder))
    geometry = spec.geometry
    assert isinstance(geometry, Native)
    assert (spec.nominal_tokens, geometry.max_pieces) == (16384, 65536)
    assert (spec.has_cls, spec.stored_dtype) == (False, "bfloat16")
    by_name = {
        "Qwen2-VL-2B-Instruct": (5120, 1536, 32768, 2 * 28 * 2 * 128, 0),
        "Qwen2.5-VL-3B-Instruct": (5120, 2048, 128000, 2 * 36 * 2 * 128, 0),
        "Qwen3-VL-4B-Instruct": (4 * 4096, 4 * 2560, 262144, 2 * 36 * 8 * 128, 3),
    }
    assert by_name[name] == (
        spec.feature_width,
        spec.projected_width,
        spec.max_context,
        spec.kv_values_per_token,
        spec.num_taps,
    )
    billions = {"2B": 2.209, "3B": 3.755, "4B": 4.438}
    weights = sum(weight_counts(spec)) / 1e9
    assert weights == pytest.approx(billions[name.split("-")[2]], abs=0.001)


def test_tokens_cells_and_positions(name: str, folder: Path) -> None:
    """Against the image processor's count and the model's `get_rope_index`."""
    spec, processor = load_spec(str(folder)), Qwen2VLImageProcessorPil.from_pretrained(folder)
    for size, expected in zip(SIZES, TOKENS[name], strict=True):
        layout = spec.layout(*size)
        rows, cols = layout.stitched
        assert (layout.num_valid, rows * cols) == (expected, expected)
        assert processor.get_number_of_image_patches(*size) == 4 * expected
        cells = -(-rows // 12) * -(-cols // 12)
        assert layout.num_partitions == 1 + cells and not layout.valid[0].any()
        sizes = layout.valid[1:].sum(-1)
        assert int(sizes.sum()) == expected and int(sizes.max()) <= 144
        places = grid_positions(torch.arange(expected), layout)
        assert torch.equal(_prompt_positions(places), rope_index(name, folder, (rows, cols)))


def _prompt_positions(places: Tensor) -> Tensor:
    """[L, 3] with three words before the image and two behind."""
    before, after = torch.arange(3)[:, None].expand(-1, 3), torch.arange(2)[:, None]
    return torch.cat([before, 3 + places[:-1], 3 + places[-1] + after])


def rope_index(name: str, folder: Path, tokens: tuple[int, int]) -> Tensor:
    """int64 [L, 3] of the same prompt, by transformers' own model without weights."""
    model = without_weights(name, folder)
    count = tokens[0] * tokens[1]
    types = torch.tensor([[0] * 3 + [1] * count + [0] * 2], dtype=torch.int)
    ids = torch.where(types == 1, 151655, 5).long()
    grid = torch.tensor([[1, 2 * tokens[0], 2 * tokens[1]]])
    found: Tensor = model.get_rope_index(ids, types, image_grid_thw=grid)[0]
    return found[:, 0].T


@cache
def without_weights(name: str, folder: Path) -> Any:
    config = AutoConfig.from_pretrained(folder)
    config.text_config.num_hidden_layers = config.vision_config.depth = 1
    config.text_config.layer_types = ["full_attention"]
    config.vision_config.deepstack_visual_indexes = [0]
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config).model


def test_the_plan_is_sized_by_the_most_pixels(folder: Path) -> None:
    """A fifth of 16,384 tokens, rounded down, and the prompt; fewer pixels, shorter slots."""
    settings, lengths = ReductionSettings(budget=0.2), {"text_positions": 20, "max_new_tokens": 64}
    assert max_length(load_spec(str(folder)), settings, **lengths) == 3276 + 84
    limit = 1280 * (load_spec(str(folder)).geometry.patch_size * 2) ** 2
    small = load_spec(str(folder), image_options={"max_pixels": limit})
    assert max_length(small, settings, **lengths) == 256 + 84
    dense = ReductionSettings(method="dense")
    assert max_length(small, dense, **lengths) == 1280 + 84
    few = ReductionSettings(budget=8)
    assert max_length(small, few, **lengths) == 8 + 84
    assert rotary_length(small, few, **lengths) == 507 + 84  # Of an image one token high.


@pytest.mark.parametrize(("options", "message"), [
    ({"max_pixel": 5}, r"max_pixel is none of qwen\d_(5_)?vl; it has min_pixels, max_pixels"),
    ({"max_pixels": 100}, r"image_options: max_pixels: 100 is out of range; allowed: \d+ or more"),
    ({"max_pixels": 1e6}, "image_options: max_pixels: 1000000.0 is out of range"),
    ({"min_pixels": True}, "image_options: min_pixels: True is out of range"),
    ({"min_pixels": 10**9}, "min_pixels: 1000000000 is out of range; allowed: no more than max"),
])  # fmt: skip
def test_options_that_cannot_be(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_spec(str(folder), image_options=options)


def test_other_families_have_no_image_options() -> None:
    with pytest.raises(ValueError, match="image_options: max_pixels; llava_next has none"):
        load_spec("embedded", image_options={"max_pixels": 5})
