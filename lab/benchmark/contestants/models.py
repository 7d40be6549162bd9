"""Models to measure where no pretrained weights are at hand: real shapes, random weights.

How long a model takes depends on its shapes and on the number of tokens, not on what it has learnt.
Weights are drawn wide enough for outputs to vary with the image, and biases and norms away from
their neutral values, so that a part that is dropped or swapped shows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaNextConfig,
    PreTrainedModel,
)
from transformers.initialization import no_init_weights

from hired_core.models.checkpoint import EMBEDDED_PATH
from lab.benchmark.contestants.native import NATIVE, native_config, write_native_processor

GRIDS: Final = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
STOP_ID: Final = 2
_IMAGE_ID: Final = 3
_CONTEXT: Final = 4096


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Shapes of a model: arguments of its family's configurations of tower and text.

    Attributes:
        on_disk: written as a checkpoint and loaded like any other. Otherwise it is too large for
            that, and is made on the device that runs it.
        family: llava_next, or one of `contestants.native`.
    """

    vision: Mapping[str, int]
    text: Mapping[str, Any]
    on_disk: bool = False
    family: str = "llava_next"


def _sizes(width: int, mlp: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


_CLIP_L: Final = _sizes(1024, 4096, 24, 16)
_VICUNA: Final = {"vocab_size": 32064, "rms_norm_eps": 1e-5}

PRESETS: Final[dict[str, Preset]] = {
    "44m": Preset(
        vision=_sizes(192, 768, 6, 3),
        text=_sizes(512, 1536, 12, 8),
        on_disk=True,
    ),
    "44m-qwen2_vl": Preset(
        vision={"embed_dim": 192, "depth": 6, "num_heads": 3, "mlp_ratio": 4},
        text=_sizes(512, 1536, 12, 8),
        on_disk=True,
        family="qwen2_vl",
    ),
    "7b": Preset(vision=_CLIP_L, text=_sizes(4096, 11008, 32, 32) | _VICUNA),
    "mistral-7b": Preset(
        vision=_CLIP_L,
        text=_sizes(4096, 14336, 32, 32) | _VICUNA | {"num_key_value_heads": 8},
    ),
    "13b": Preset(vision=_CLIP_L, text=_sizes(5120, 13824, 40, 40) | _VICUNA),
}
"""44m and 44m-qwen2_vl are small enough for two CPU cores; 7b and 13b are LLaVA-Next on Vicuna,
mistral-7b is it on Mistral, whose query heads share key-value heads: a quarter of the cache."""


def preset_config(preset: Preset, *, partition_size: int = 336) -> Any:
    """The configuration of a preset, with the embedded tokenizer's ids and the published grids."""
    text = {
        "vocab_size": _embedded("config.json")["text_config"]["vocab_size"],
        "num_key_value_heads": preset.text["num_attention_heads"],
        "max_position_embeddings": _CONTEXT,
        "bos_token_id": 1,
        "eos_token_id": STOP_ID,
        "pad_token_id": 0,
        **preset.text,
    }
    if preset.family in NATIVE:
        return native_config(preset.family, preset.vision, text, _IMAGE_ID)
    vision = {"image_size": partition_size, "patch_size": 14}
    vision["projection_dim"] = preset.vision["hidden_size"]
    return LlavaNextConfig(
        vision_config=CLIPVisionConfig(**{**vision, **preset.vision}),
        text_config=LlamaConfig(**text),
        image_grid_pinpoints=[[r * partition_size, c * partition_size] for r, c in GRIDS],
        image_token_index=_IMAGE_ID,
        vision_feature_layer=-2,
    )


def write_preset(preset: Preset, folder: Path, *, seed: int = 0, partition_size: int = 336) -> None:
    """Everything of a checkpoint but, for a preset that is not `on_disk`, the weights."""
    config = preset_config(preset, partition_size=partition_size)
    if preset.on_disk:
        never_stopping(random_model(config, seed)).save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    write_processor(folder, partition_size)
    if preset.family in NATIVE:
        write_native_processor(folder)


def write_processor(folder: Path, partition_size: int) -> None:
    """The embedded model's tokenizer, and its processor for partitions of another size."""
    for name in ("tokenizer.json", "chat_template.jinja"):
        shutil.copy(EMBEDDED_PATH / name, folder / name)
    tokenizer = _embedded("tokenizer_config.json") | {"model_max_length": _CONTEXT}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer, indent=2))
    content = _embedded("processor_config.json")
    content["image_processor"] |= {
        "crop_size": {"height": partition_size, "width": partition_size},
        "size": {"shortest_edge": partition_size},
        "image_grid_pinpoints": [[r * partition_size, c * partition_size] for r, c in GRIDS],
    }
    (folder / "processor_config.json").write_text(json.dumps(content, indent=2))


def _embedded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EMBEDDED_PATH / name).read_text(encoding="utf-8"))
    return content


def random_model(
    config: Any,
    seed: int,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> PreTrainedModel:
    """In evaluation mode, its weights a function of `seed`, `device` and `dtype` alone."""
    device = torch.device(device)
    with no_init_weights(), device:
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    model.tie_weights()
    generator = torch.Generator(device=device).manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator, device=device)
            weight.copy_(_scaled(name, noise))
    model.generation_config = GenerationConfig(
        bos_token_id=1, eos_token_id=STOP_ID, pad_token_id=0, do_sample=False
    )
    return model.eval()


def _scaled(name: str, noise: Tensor) -> Tensor:
    if noise.ndim > 1 and "embed" not in name:
        scaled: Tensor = noise * _gain(name) / noise[0].numel() ** 0.5
        return scaled
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.2 * noise
    return noise if "embed" in name or "newline" in name else 0.2 * noise


def _gain(name: str) -> float:
    """Wide queries and keys: attention over hundreds of tokens still tells them apart."""
    if "q_proj" in name or "k_proj" in name:
        return 2.0 if "vision" in name else 3.0
    return 1.5


@torch.no_grad()
def never_stopping(model: PreTrainedModel) -> PreTrainedModel:
    """The model, its stop token's logit always 0: all texts run to their last token, alike long."""
    model.lm_head.weight[STOP_ID] = 0
    return model
