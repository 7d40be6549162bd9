"""What published files say, what is refused, and where a vision tower is looked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import LlavaConfig, LlavaNextConfig

from hired_core.geometry.anyres import AnyRes
from hired_core.geometry.square import Square
from hired_core.models.checkpoint import CheckpointError
from hired_core.models.original.named_tower import KNOWN
from hired_core.models.registry import load_whole_spec
from pipeline.settings.fingerprint import model_digest
from tests.support.models import load_spec, weight_counts
from tests.support.original_checkpoints import TOWER, build_original, spoil
from tests.support.published_llava import write_published

COLOUR = (122, 116, 104)


@pytest.mark.parametrize("name", ["llava-v1.5-7b", "ShareGPT4V-7B"])
def test_published_squares(name: str, tmp_path: Path) -> None:
    spec = load_spec(str(write_published(name, tmp_path)))
    assert spec.geometry == Square(partition_size=336, patch_size=14, pad=COLOUR)
    assert (spec.family, spec.nominal_tokens, spec.feature_layer) == ("llava", 576, 22)
    assert spec.stored_dtype == ("float16" if "1.5" in name else "bfloat16")
    assert (spec.max_context, spec.kv_values_per_token) == (4096, 2 * 32 * 4096)
    # 6.738 of Vicuna, 0.021 of the projector, 0.291 of 23 layers.
    assert sum(weight_counts(spec)) / 1e9 == pytest.approx(7.050, abs=0.001)


@pytest.mark.parametrize("name", ["llava-v1.6-vicuna-7b", "llava-v1.6-mistral-7b"])
def test_published_grids_need_no_folder_of_their_tower(name: str, tmp_path: Path) -> None:
    spec = load_spec(str(write_published(name, tmp_path)))
    geometry = spec.geometry
    assert isinstance(geometry, AnyRes) and spec.family == "llava_next"
    assert (geometry.partition_size, spec.nominal_tokens, spec.feature_layer) == (336, 2880, 22)
    shared = 8 if "mistral" in name else 32
    assert spec.kv_values_per_token == 2 * 32 * shared * 128
    assert sum(weight_counts(spec)) / 1e9 == pytest.approx(
        7.554 if "mistral" in name else 7.050, abs=0.001
    )
    # (width, height) in the file: of canvases alike good the tall one is the first.
    assert geometry.pinpoints[0] == (672, 336) and geometry.layout(100, 100).grid == (2, 1)
    assert geometry.layout(300, 1000).grid == (1, 3) and geometry.layout(900, 900).grid == (2, 2)


def test_known_shapes_are_what_transformers_takes_for_granted() -> None:
    for whole in (LlavaConfig(), LlavaNextConfig()):
        told = whole.vision_config.to_dict()
        known = KNOWN["clip-vit-large-patch14-336"]
        assert {key: told[key] for key in known} == known


def test_scaled_rotary_embeddings_are_handed_on(tmp_path: Path) -> None:
    from hired_core.models.registry import family

    made = write_published("llava-v1.5-7b", tmp_path)
    _edit(made, lambda c: c.update(rope_scaling={"type": "linear", "factor": 2.0}))
    rotary = family("llava").config(made).text_config.rope_parameters
    assert rotary == {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "llava_mpt"}, r"model_type 'llava_mpt', which is read with 'llava', "),
        ({"image_aspect_ratio": "anyres_max_9"}, r"'anyres_max_9', .* 'square', 'pad', 'anyres'"),
        ({"mm_projector_type": "linear"}, "mm_projector_type 'linear', .* 'mlp2x_gelu' only"),
        ({"mm_projector_type": None}, "mm_projector_type None"),
        ({"mm_vision_select_feature": "cls_patch"}, "'cls_patch', .* 'patch' only"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end True"),
        ({"mm_resampler_type": "spatial_pool"}, "'spatial_pool', which is read with none only"),
        ({"s2": True}, "s2 True"),
        ({"mm_vision_select_layer": [-2, -5]}, "several"),
        ({"image_aspect_ratio": "anyres"}, "mm_patch_merge_type None, .* 'spatial_unpad' only"),
        (
            {"image_aspect_ratio": "anyres", "mm_patch_merge_type": "spatial_unpad"},
            "image_grid_pinpoints None are no list",
        ),
    ],
)
def test_what_is_not_read_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = write_published("llava-v1.5-7b", tmp_path)
    _edit(folder, lambda content: content.update(change))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_spec(str(folder))
    assert "\n" not in str(caught.value)


def test_sizes_as_a_text(tmp_path: Path) -> None:
    folder = write_published("llava-v1.6-vicuna-7b", tmp_path)
    _edit(folder, lambda c: c.update(image_grid_pinpoints="[(336, 672), (1008, 336)]"))
    geometry = load_spec(str(folder)).geometry
    assert isinstance(geometry, AnyRes) and geometry.pinpoints == ((672, 336), (336, 1008))
    _edit(folder, lambda c: c.update(image_grid_pinpoints="(1x1),...,(6x6)"))
    with pytest.raises(CheckpointError, match=r"'\(1x1\),...,\(6x6\)' are no list of sizes"):
        load_spec(str(folder))


def test_a_tower_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it lies in the hub's cache, which is asked for it without the network."""
    commit, cache = "c" * 40, tmp_path / "cache"
    folder = build_original(tmp_path / "model", seed=3, tower="beside")
    place = cache / f"models--someone--{TOWER}"
    shutil.move(tmp_path / TOWER, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    spec = load_whole_spec(str(folder))
    assert spec.geometry == Square(partition_size=56, patch_size=14, pad=COLOUR)


def test_a_tower_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = build_original(tmp_path / "model", seed=3)
    shutil.rmtree(tmp_path / TOWER)
    told = rf"neither in it nor beside it \(cannot fetch .* safetensors into model/{TOWER}"
    with pytest.raises(CheckpointError, match=told):
        load_spec(str(folder))
    _edit(folder, lambda content: content.update(mm_vision_tower="/trained/here/tower"))
    with pytest.raises(CheckpointError, match="no checkpoint folder at '/trained/here/tower'"):
        load_spec(str(folder))


def test_a_tower_that_is_no_clip(tmp_path: Path) -> None:
    folder = build_original(tmp_path / "model", seed=3)
    _edit(tmp_path / TOWER, lambda content: content.update(model_type="siglip_vision_model"))
    with pytest.raises(CheckpointError, match=f"{TOWER} is siglip_vision_model; only CLIP"):
        load_spec(str(folder))


def test_what_a_tower_lacks_is_told_with_the_rest(tmp_path: Path) -> None:
    folder = build_original(tmp_path / "model", seed=3, tower="beside")
    load_whole_spec(str(folder))
    (folder / "tokenizer.json").unlink()
    for name in ("model.safetensors", "preprocessor_config.json"):
        (tmp_path / TOWER / name).unlink()
    (tmp_path / TOWER / "pytorch_model.bin").write_bytes(b"")
    told = (
        "model is not whole: no tokenizer .*; "
        f"its vision tower {TOWER}: no safetensors weights, only pytorch_model.bin, .*; "
        f"its vision tower {TOWER}: no image processor"
    )
    with pytest.raises(CheckpointError, match=told):
        load_whole_spec(str(folder))


def test_pickles_on_the_hub_are_told_by_their_index(tmp_path: Path) -> None:
    """They are not downloaded: nothing of them would be read."""
    folder = build_original(tmp_path / "model", seed=3)
    (folder / "model.safetensors").unlink()
    names = {"lm_head.weight": "pytorch_model-00002-of-00002.bin"}
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    told = r"only pytorch_model-00002-of-00002\.bin, which are pickles .* docs/models\.md tells"
    with pytest.raises(CheckpointError, match=told):
        load_whole_spec(str(folder))


def test_a_tower_by_name_counts_in_the_fingerprint(tmp_path: Path) -> None:
    spec = load_spec(str(build_original(tmp_path / "model", seed=3, tower="beside")))
    before = model_digest(spec)
    spoil(tmp_path / TOWER / "model.safetensors")
    assert model_digest(spec) != before


def _edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
