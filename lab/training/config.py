"""Sizes of the embedded model and of its training: the only place with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lab.rendering.geometry import CANVASES, PARTITION_SIZE

if TYPE_CHECKING:
    from transformers import LlavaNextConfig

__all__ = [
    "FEATURE_LAYER",
    "PATCHES_PER_PARTITION",
    "PATCH_SIZE",
    "TrainingConfig",
    "model_config",
]

PATCH_SIZE = 14
PATCHES_PER_PARTITION = (PARTITION_SIZE // PATCH_SIZE) ** 2
# hidden_states[-2] is the output of this layer index; the last layer is never used.
FEATURE_LAYER = 5
_VISION_WIDTH, _VISION_LAYERS, _VISION_HEADS = 192, 7, 6
_TEXT_WIDTH, _TEXT_LAYERS, _TEXT_HEADS = 256, 4, 4


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long each stage trains, on how many pictures, and where its working data lies."""

    recipe: Literal["llava_next", "qwen2_vl"] = "llava_next"
    """Which family: 'llava_next' is the embedded model; 'qwen2_vl' a smaller one of native
    resolution, without CLS token, of rendered scenes. Its checkpoint is written to --folder."""
    folder: Path = Path("runs/embedded")
    """Working data: rendered shards, features, checkpoints."""
    num_shards: int = 32
    """Shards of rendered training pictures."""
    pictures_per_shard: int = 1024
    """Pictures in one shard; about 360 MB."""
    vision_minutes: float = 102.0
    """Training time of the vision tower; the learning rate reaches zero at its end."""
    vision_batch: int = 48
    """Partitions in one vision step."""
    vision_lr: float = 1.0e-3
    """Peak learning rate of the vision tower."""
    language_minutes: float = 182.0
    """Training time of the projector and the language model."""
    language_batch: int = 16
    """Images in one language step."""
    language_lr: float = 1.0e-3
    """Peak learning rate of the projector and the language model."""
    checkpoint_sec: float = 120.0
    """Seconds between two checkpoints of a stage."""

    def __post_init__(self) -> None:
        for name in (
            "num_shards",
            "pictures_per_shard",
            "vision_batch",
            "language_batch",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")


def model_config(
    vocab_size: int, image_token_id: int, bos_id: int, eos_id: int, pad_id: int
) -> LlavaNextConfig:
    """The LLaVA-Next configuration of the embedded model for a tokenizer's ids."""
    # Here, so that reading the settings above does not take seconds.
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig

    vision = CLIPVisionConfig(
        hidden_size=_VISION_WIDTH,
        intermediate_size=4 * _VISION_WIDTH,
        num_hidden_layers=_VISION_LAYERS,
        num_attention_heads=_VISION_HEADS,
        image_size=PARTITION_SIZE,
        patch_size=PATCH_SIZE,
        projection_dim=_VISION_WIDTH,
    )
    text = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=_TEXT_WIDTH,
        intermediate_size=704,
        num_hidden_layers=_TEXT_LAYERS,
        num_attention_heads=_TEXT_HEADS,
        num_key_value_heads=_TEXT_HEADS,
        max_position_embeddings=2048,
        bos_token_id=bos_id,
        eos_token_id=eos_id,
        pad_token_id=pad_id,
        tie_word_embeddings=False,
    )
    return LlavaNextConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token_id,
        image_grid_pinpoints=[list(canvas) for canvas in CANVASES],
        image_seq_length=PATCHES_PER_PARTITION,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
