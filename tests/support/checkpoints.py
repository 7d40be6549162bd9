"""Random-weight checkpoints of LLaVA, written by transformers' own `save_pretrained`.

Those of other families (`qwen_checkpoints`, `tiled_checkpoints`) share parts of it.

See `lab.benchmark.contestants.models` for how weights are drawn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaNextConfig,
    LlavaProcessor,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from lab.benchmark.contestants.models import GRIDS, STOP_ID, random_model, write_processor

EMBEDDED = Path(__file__).parents[2] / "hired_core" / "embedded"
VOCABULARY: int = json.loads((EMBEDDED / "config.json").read_text())["text_config"]["vocab_size"]
"""Of the tokenizer that all of them share."""

MANY_STOPS = tuple(range(STOP_ID, VOCABULARY, 20))
"""Random weights prefer no id for long: where one in 20 is a stop, texts end at any length."""


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
    decoder: type[Any] = LlamaConfig,
    **text: Any,
) -> Path:
    """Folder of a checkpoint with model, tokenizer and processor.

    Args:
        tied: whether input and output embeddings are one; `text_says_tied` lets the text
            configuration contradict it, as it may in files found in the wild.
        text: goes to the configuration of the `decoder`.
    """
    chosen = decoder(**(decoder_settings(tied) | text))
    config = _config(partition_size, vision_layers, feature_layer, tied, chosen)
    if text_says_tied is not None:
        config.text_config.tie_word_embeddings = text_says_tied
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(stop_ids)
    model.save_pretrained(folder, max_shard_size=shard_size)
    write_processor(folder, partition_size)
    return folder


def build_llava(folder: Path, *, seed: int, size: int = 56, **text: Any) -> Path:
    """The same of LLaVA-1.5: one square of `size` pixels, no newline."""
    config = LlavaConfig(
        vision_config=_vision(size, 3),
        text_config=llama_text(tied=False, **text),
        image_token_index=3,
        vision_feature_layer=-2,
        image_seq_length=(size // 14) ** 2,
    )
    model = random_model(config, seed)
    model.generation_config.eos_token_id = list(MANY_STOPS)
    model.save_pretrained(folder)
    write_processor(folder, size)
    LlavaProcessor(
        image_processor=LlavaImageProcessorPil(
            size={"shortest_edge": size}, crop_size={"height": size, "width": size}
        ),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(folder / "chat_template.jinja").read_text(),
    ).save_pretrained(folder)
    return folder


def write_text_files(folder: Path) -> None:
    """Tokenizer and chat template; what is said of images is for another file, as on the hub."""
    folder.mkdir(parents=True, exist_ok=True)
    write_processor(folder, 56)
    (folder / "processor_config.json").unlink()


def _config(
    partition_size: int, vision_layers: int, feature_layer: int, tied: bool, text: Any
) -> LlavaNextConfig:
    return LlavaNextConfig(
        vision_config=_vision(partition_size, vision_layers),
        text_config=text,
        image_grid_pinpoints=[[r * partition_size, c * partition_size] for r, c in GRIDS],
        image_token_index=3,
        vision_feature_layer=feature_layer,
        tie_word_embeddings=tied,
    )


def _vision(size: int, layers: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=layers,
        num_attention_heads=4,
        image_size=size,
        patch_size=14,
        projection_dim=64,
    )


def llama_text(*, tied: bool, **more: Any) -> LlamaConfig:
    return LlamaConfig(**(decoder_settings(tied) | more))


def decoder_settings(tied: bool = False) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
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
