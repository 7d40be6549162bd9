"""Random-weight checkpoints of families whose images keep their own shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import Qwen2_5_VLConfig, Qwen2VLConfig, Qwen3VLConfig

from lab.benchmark.contestants.models import STOP_ID, random_model, write_processor
from tests.support.checkpoints import MANY_STOPS, VOCABULARY, llama_text
from tests.support.published_qwen import PUBLISHED


def build_qwen2_vl(
    folder: Path, *, seed: int, min_pixels: int = 56 * 56, max_pixels: int = 120 * 784, **text: Any
) -> Path:
    """The same of Qwen2-VL, whose processor is written as checkpoints on the hub have it."""
    config = Qwen2VLConfig(
        vision_config={
            "depth": 3,
            "embed_dim": 64,
            "hidden_size": 128,
            "mlp_ratio": 2,
            "num_heads": 4,
        },
        text_config=_mrope_text([4, 6, 6], **text),
        image_token_id=3,
        video_token_id=VOCABULARY - 1,
    )
    image = {"min_pixels": min_pixels, "max_pixels": max_pixels, "patch_size": 14}
    return _save_qwen(config, folder, seed, image)


def build_qwen2_5_vl(folder: Path, *, seed: int, **text: Any) -> Path:
    """The same of Qwen2.5-VL: windows of 2 x 2 visual tokens but for the second and last layer."""
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 4,
            "hidden_size": 64,
            "out_hidden_size": 128,
            "intermediate_size": 96,
            "num_heads": 4,
            "window_size": 56,
            "fullatt_block_indexes": [1, 3],
        },
        text_config=_mrope_text([4, 6, 6], **text),
        image_token_id=3,
        video_token_id=VOCABULARY - 1,
    )
    image = {"min_pixels": 56 * 56, "max_pixels": 120 * 784, "patch_size": 14}
    return _save_qwen(config, folder, seed, image)


def build_qwen3_vl(folder: Path, *, seed: int, **text: Any) -> Path:
    """The same of Qwen3-VL: two of its four tower layers are tapped."""
    config = Qwen3VLConfig(
        vision_config={
            "depth": 4,
            "hidden_size": 64,
            "out_hidden_size": 128,
            "intermediate_size": 96,
            "num_heads": 4,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 2],
        },
        text_config=_mrope_text([6, 5, 5], **({"num_hidden_layers": 3} | text)),
        image_token_id=3,
        video_token_id=VOCABULARY - 1,
    )
    size = {"shortest_edge": 64 * 64, "longest_edge": 120 * 1024}
    half = [0.5, 0.5, 0.5]
    image = {"size": size, "patch_size": 16, "image_mean": half, "image_std": half}
    return _save_qwen(config, folder, seed, image)


def _save_qwen(
    config: Any, folder: Path, seed: int, image: dict[str, Any], stops: Sequence[int] = MANY_STOPS
) -> Path:
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(stops)
    model.save_pretrained(folder)
    write_processor(folder, 56)
    (folder / "processor_config.json").unlink()
    kind = {"image_processor_type": "Qwen2VLImageProcessor", "merge_size": 2}
    stored = kind | {"temporal_patch_size": 2} | image
    (folder / "preprocessor_config.json").write_text(json.dumps(stored))
    return folder


def _mrope_text(sections: list[int], **more: Any) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": sections}
    return llama_text(tied=False).to_dict() | {"rope_parameters": rope, "model_type": None} | more


def build_thin(folder: Path, name: str, *, seed: int) -> Path:
    """A published configuration with two thin layers in the tower and two in the decoder.

    Patches, merges, windows, position tables, sections of the rotary embedding, widths of heads and
    pixels allowed are the published ones; words and ids are the embedded tokenizer's.
    """
    said, image = PUBLISHED[name]
    vision: dict[str, Any] = said["vision_config"] | _THIN[said["model_type"]]
    text = said.get("text_config", said)
    rope = {"rope_type": "default", "rope_theta": text["rope_theta"]}
    rope |= {"mrope_section": text["rope_scaling"]["mrope_section"]}
    made = llama_text(tied=False).to_dict() | {
        "hidden_size": 256,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 128,
        "rms_norm_eps": text["rms_norm_eps"],
        "max_position_embeddings": text["max_position_embeddings"],
        "rope_parameters": rope,
        "model_type": None,
    }
    config = _CONFIGS[said["model_type"]](
        vision_config=vision,
        text_config=made,
        image_token_id=3,
        video_token_id=VOCABULARY - 1,
    )
    return _save_qwen(config, folder, seed, image, stops=[STOP_ID])


_CONFIGS = {"qwen2_vl": Qwen2VLConfig, "qwen2_5_vl": Qwen2_5_VLConfig, "qwen3_vl": Qwen3VLConfig}
_THIN: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": 2, "embed_dim": 160, "num_heads": 2, "hidden_size": 256},
    "qwen2_5_vl": {
        "depth": 2,
        "hidden_size": 160,
        "num_heads": 2,
        "intermediate_size": 320,
        "out_hidden_size": 256,
        "fullatt_block_indexes": [1],
    },
    "qwen3_vl": {
        "depth": 2,
        "hidden_size": 128,
        "num_heads": 2,
        "intermediate_size": 256,
        "out_hidden_size": 256,
        "deepstack_visual_indexes": [0],
    },
}
"""Heads are 80 and 64 wide, as published; windows in the first layer, none in the second."""
