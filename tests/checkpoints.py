"""Random-weight LLaVA-Next checkpoints, written by transformers' own `save_pretrained`.

Weights are drawn wide enough for outputs to vary with the image and the prompt, and biases and
norms away from their neutral values, so that a part that is dropped or swapped shows.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)

EMBEDDED = Path(__file__).parents[1] / "hired_core" / "embedded"
GRIDS = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
STOP_ID = 2


def build_checkpoint(
    folder: Path,
    *,
    seed: int,
    partition_size: int = 56,
    vision_layers: int = 3,
    feature_layer: int = -2,
    tied: bool = False,
    text_says_tied: bool | None = None,
    shard_size: str = "1GB",
    stop_ids: tuple[int, ...] = (STOP_ID,),
    **text: Any,
) -> Path:
    """Folder of a checkpoint with model, tokenizer and processor.

    Args:
        tied: whether input and output embeddings are one; `text_says_tied` lets the text
            configuration contradict it, as it may in files found in the wild.
        text: goes to LlamaConfig.
    """
    config = _config(partition_size, vision_layers, feature_layer, tied, text)
    if text_says_tied is not None:
        config.text_config.tie_word_embeddings = text_says_tied
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(stop_ids)
    model.save_pretrained(folder, max_shard_size=shard_size)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(EMBEDDED / name, folder / name)
    _write_processor(folder, partition_size)
    return folder


def random_model(config: LlavaNextConfig, seed: int) -> LlavaNextForConditionalGeneration:
    """In float32 and evaluation mode, its weights a function of `seed` alone."""
    model = LlavaNextForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1 and "embed" not in name:
                weight.copy_(noise * _gain(name) / weight[0].numel() ** 0.5)
            elif "norm" in name and name.endswith("weight"):
                weight.copy_(1 + 0.2 * noise)
            else:
                weight.copy_(noise if "embed" in name or "newline" in name else 0.2 * noise)
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=STOP_ID, pad_token_id=0, do_sample=False
    )
    return model.eval()


def _gain(name: str) -> float:
    """Wide queries and keys: attention over hundreds of tokens still tells them apart."""
    if "q_proj" in name or "k_proj" in name:
        return 2.0 if "vision" in name else 3.0
    return 1.5


def _config(
    partition_size: int, vision_layers: int, feature_layer: int, tied: bool, text: dict[str, Any]
) -> LlavaNextConfig:
    vision_config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=vision_layers,
        num_attention_heads=4,
        image_size=partition_size,
        patch_size=14,
        projection_dim=64,
    )
    settings = {
        "vocab_size": json.loads((EMBEDDED / "config.json").read_text())["text_config"][
            "vocab_size"
        ],
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "bos_token_id": 1,
        "eos_token_id": STOP_ID,
        "pad_token_id": 0,
        "tie_word_embeddings": tied,
    }
    return LlavaNextConfig(
        vision_config=vision_config,
        text_config=LlamaConfig(**(settings | text)),
        image_grid_pinpoints=[[r * partition_size, c * partition_size] for r, c in GRIDS],
        image_token_index=3,
        vision_feature_layer=feature_layer,
        tie_word_embeddings=tied,
    )


def _write_processor(folder: Path, partition_size: int) -> None:
    content = json.loads((EMBEDDED / "processor_config.json").read_text())
    content["image_processor"] |= {
        "crop_size": {"height": partition_size, "width": partition_size},
        "size": {"shortest_edge": partition_size},
        "image_grid_pinpoints": [[r * partition_size, c * partition_size] for r, c in GRIDS],
    }
    (folder / "processor_config.json").write_text(json.dumps(content, indent=2))
