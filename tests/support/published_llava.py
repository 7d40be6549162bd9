"""Configurations of checkpoints in LLaVA's own format as they are published, without weights.

Values of config.json, of the vision tower's config.json and preprocessor_config.json; what plays no
part here is left out. Of the weights there is the index, with a name of each kind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_VICUNA_7B: Final = {
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "pretraining_tp": 1,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
_MULTIMODAL: Final = {
    "mm_hidden_size": 1024,
    "mm_projector_type": "mlp2x_gelu",
    "mm_resampler_type": None,
    "mm_use_im_patch_token": False,
    "mm_use_im_start_end": False,
    "mm_vision_select_feature": "patch",
    "mm_vision_select_layer": -2,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "torch_dtype": "float16",
    "use_cache": True,
    "use_mm_proj": True,
}
_ANYRES: Final = {
    "image_aspect_ratio": "anyres",
    "image_crop_resolution": 224,
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "image_split_resolution": 224,
    "mm_patch_merge_type": "spatial_unpad",
    "mm_vision_tower_lr": 2e-06,
    "rope_theta": 10000.0,
    "tokenizer_model_max_length": 4096,
    "unfreeze_mm_vision_tower": True,
}

PUBLISHED: Final[dict[str, dict[str, Any]]] = {
    "llava-v1.5-7b": {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        "image_aspect_ratio": "pad",
        **_VICUNA_7B,
        **_MULTIMODAL,
    },
    "ShareGPT4V-7B": {
        "architectures": ["Share4VLlamaForCausalLM"],
        "model_type": "share4v",
        "image_aspect_ratio": "pad",
        **_VICUNA_7B,
        **_MULTIMODAL,
        "mm_vision_tower": "Lin-Chen/ShareGPT4V-7B_Pretrained_vit-large336-l12",
        "torch_dtype": "bfloat16",
    },
    "llava-v1.6-vicuna-7b": {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": "llava",
        **_VICUNA_7B,
        **_MULTIMODAL,
        **_ANYRES,
    },
    "llava-v1.6-mistral-7b": {
        "architectures": ["LlavaMistralForCausalLM"],
        "model_type": "llava_mistral",
        **_VICUNA_7B,
        **_MULTIMODAL,
        **_ANYRES,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "num_key_value_heads": 8,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "torch_dtype": "bfloat16",
    },
}

_TOWER: Final = {
    "model_type": "clip_vision_model",
    "attention_dropout": 0.0,
    "hidden_act": "quick_gelu",
    "hidden_size": 1024,
    "image_size": 336,
    "intermediate_size": 4096,
    "layer_norm_eps": 1e-05,
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
}
_IMAGE: Final = {
    "crop_size": 336,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 336,
}


def write_published(name: str, folder: Path) -> Path:
    """Its folder; of LLaVA-1.6 the tower is inside, of others a folder beside it."""
    config = PUBLISHED[name]
    made = folder / name
    made.mkdir()
    (made / "config.json").write_text(json.dumps(config))
    weights = ["model.layers.0.input_layernorm.weight", "model.mm_projector.0.bias"]
    tower = folder / config["mm_vision_tower"].rpartition("/")[2]
    if config["image_aspect_ratio"] == "anyres":
        weights += ["model.vision_tower.vision_tower.vision_model.embeddings.class_embedding"]
    else:
        tower.mkdir()
        (tower / "config.json").write_text(json.dumps(_TOWER))
        (tower / "preprocessor_config.json").write_text(json.dumps(_IMAGE))
    index = {"weight_map": dict.fromkeys(weights, "model-00001-of-00003.safetensors")}
    (made / "model.safetensors.index.json").write_text(json.dumps(index))
    return made
