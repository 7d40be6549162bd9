"""LLaVA-Next (LLaVA-1.6): CLIP tower, two-layer projector, Llama- or Mistral-style decoder.

The two halves load apart, so that an actor holds only the weights it runs. Reads both the names
that transformers 4 stored (`language_model.model.*`) and those of transformers 5.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel
from transformers.initialization import no_init_weights
from transformers.models.llava_next.modeling_llava_next import LlavaNextMultiModalProjector

from hired_core.geometry.layout import Size
from hired_core.geometry.spec import ModelSpec
from hired_core.language.model import LanguageModel
from hired_core.language.prompts import PromptTemplate
from hired_core.models.checkpoint import (
    CheckpointError,
    fill,
    iter_tensors,
    read_json,
    resolve_checkpoint,
)
from hired_core.vision.encoder_layer import QuickGELU
from hired_core.vision.tower import VisionTower

_BICUBIC = 3


def load_spec(model: str, revision: str | None = None) -> ModelSpec:
    """Geometry of a LLaVA-Next checkpoint; reads configuration files only.

    Raises:
        CheckpointError: if there is no such checkpoint or it is not a LLaVA-Next model that this
            adapter supports; the message names what differs.
    """
    folder = resolve_checkpoint(model, revision)
    config = _config(folder)
    vision, image = config.vision_config, _image_processor(folder)
    size = vision.image_size
    pinpoints = _points(config.image_grid_pinpoints)
    if not pinpoints or any(h % size or w % size for h, w in pinpoints):
        raise CheckpointError(f"grid pinpoints {pinpoints} are no multiples of {size} pixels")
    _check_image_processor(image, size, pinpoints)
    return ModelSpec(
        name=model,
        path=str(folder),
        pinpoints=pinpoints,
        partition_size=size,
        patch_size=vision.patch_size,
        feature_layer=_feature_layer(config),
        vision_width=vision.hidden_size,
        text_width=config.text_config.hidden_size,
        vision_inner=vision.intermediate_size,
        text_inner=config.text_config.intermediate_size,
        query_width=config.text_config.num_attention_heads * _head_dim(config.text_config),
        kv_width=config.text_config.num_key_value_heads * _head_dim(config.text_config),
        vocab_size=config.text_config.vocab_size,
        mean=tuple(image.get("image_mean", (0.48145466, 0.4578275, 0.40821073))),
        std=tuple(image.get("image_std", (0.26862954, 0.26130258, 0.27577711))),
        max_context=config.text_config.max_position_embeddings,
        vision_params=_vision_params(vision, _feature_layer(config) + 1),
        text_params=_text_params(config),
        kv_values_per_token=_kv_values(config.text_config),
        stored_dtype=str(config.dtype or torch.float16).removeprefix("torch."),
    )


def _config(folder: Path) -> Any:
    content = read_json(folder, "config.json")
    kind = content.get("model_type")
    if kind != "llava_next":
        found = f"model_type {kind!r}" if content else "no config.json"
        raise CheckpointError(f"{folder.name} has {found}; only llava_next is supported")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if config.vision_config.model_type != "clip_vision_model":
        kind = config.vision_config.model_type
        raise CheckpointError(f"the vision tower is {kind}; only clip_vision_model is supported")
    if config.vision_feature_select_strategy != "default":
        raise CheckpointError("only vision_feature_select_strategy 'default' is supported")
    return config


def _image_processor(folder: Path) -> dict[str, Any]:
    nested = read_json(folder, "processor_config.json").get("image_processor", {})
    return nested or read_json(folder, "preprocessor_config.json")


def _check_image_processor(image: dict[str, Any], size: int, pinpoints: tuple[Size, ...]) -> None:
    """Refuses settings under which transformers would cut images otherwise than `partition_image`.

    What a file does not say is transformers' default, which is what this project does.
    """
    crop, edge = image.get("crop_size", size), image.get("size", size)
    found = {
        "resample": image.get("resample", _BICUBIC),
        "crop_size": set(crop.values()) if isinstance(crop, dict) else {crop},
        "size": {v for v in edge.values() if v} if isinstance(edge, dict) else {edge},
        "image_grid_pinpoints": _points(image.get("image_grid_pinpoints", pinpoints)),
    }
    wanted = {
        "resample": _BICUBIC,
        "crop_size": {size},
        "size": {size},
        "image_grid_pinpoints": pinpoints,
    }
    for key, value in wanted.items():
        if found[key] != value:
            raise CheckpointError(f"the image processor's {key} is {found[key]}, expected {value}")


def _points(pinpoints: Any) -> tuple[Size, ...]:
    return tuple((int(height), int(width)) for height, width in pinpoints)


def _feature_layer(config: Any) -> int:
    """Layer index whose output is `hidden_states[vision_feature_layer]` (one entry more)."""
    chosen, depth = config.vision_feature_layer, config.vision_config.num_hidden_layers
    if not isinstance(chosen, int):
        raise CheckpointError("several vision feature layers are not supported")
    index = depth + chosen if chosen < 0 else chosen - 1
    if not 0 <= index < depth:
        raise CheckpointError(f"vision_feature_layer {chosen} is outside the {depth} layers")
    return index


def _vision_params(vision: Any, num_layers: int) -> int:
    width = vision.hidden_size
    patch = 3 * vision.patch_size**2 * width
    return int(patch + num_layers * (4 * width**2 + 2 * width * vision.intermediate_size))


def _text_params(config: Any) -> int:
    text, width = config.text_config, config.text_config.hidden_size
    projector = width * (config.vision_config.hidden_size + width)
    heads = text.num_attention_heads * _head_dim(text)
    kv = text.num_key_value_heads * _head_dim(text)
    layer = width * (2 * heads + 2 * kv + 3 * text.intermediate_size)
    return int(projector + text.num_hidden_layers * layer + text.vocab_size * width)


def _kv_values(text: Any) -> int:
    return int(2 * text.num_hidden_layers * text.num_key_value_heads * _head_dim(text))


def _head_dim(text: Any) -> int:
    return int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)


def weight_counts(spec: ModelSpec) -> tuple[int, int]:
    """Numbers that `load_vision` and `load_language` hold; reads no weights."""
    config = _config(Path(spec.path))
    vision_config, text_config = config.vision_config, config.text_config
    vision_config.num_hidden_layers = spec.feature_layer + 1
    text_config.tie_word_embeddings = config.tie_word_embeddings
    with torch.device("meta"):
        tower = CLIPVisionModel._from_config(vision_config)
        decoder = AutoModelForCausalLM.from_config(text_config)
        projector = LlavaNextMultiModalProjector(config)
    getattr(tower, "vision_model", tower).post_layernorm = nn.Identity()
    decoder.tie_weights()
    language = spec.text_width + sum(_count(part) for part in (decoder, projector))
    return _count(tower), language


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def load_vision(spec: ModelSpec, *, device: torch.device, dtype: torch.dtype) -> VisionTower:
    """The tower up to the feature layer; later layers are neither read nor kept."""
    folder = Path(spec.path)
    config = _config(folder).vision_config
    config.num_hidden_layers = spec.feature_layer + 1
    with no_init_weights(), torch.device(device):
        model = CLIPVisionModel._from_config(config, dtype=dtype, attn_implementation="sdpa")
    tower = getattr(model, "vision_model", model)
    tower.post_layernorm = nn.Identity()  # Applied to the pooled output only, which is not used.
    fill(tower, iter_tensors(folder, _part("vision_tower", "vision_model")), tied=set())
    tower.eval()
    if config.hidden_act == "quick_gelu":
        for layer in tower.encoder.layers:
            layer.mlp.activation_fn = QuickGELU()
    return VisionTower(
        embed=lambda pixels: tower.pre_layrnorm(tower.embeddings(pixels)),
        layers=list(tower.encoder.layers),
        has_cls=True,
        mean=spec.mean,
        std=spec.std,
        device=device,
        dtype=dtype,
    )


def load_language(spec: ModelSpec, *, device: torch.device, dtype: torch.dtype) -> LanguageModel:
    """Projector, newline embedding, decoder and tokenizer; nothing of the vision tower."""
    folder = Path(spec.path)
    config = _config(folder)
    # The outer setting decides in LlavaNextForConditionalGeneration, whatever the inner one says.
    config.text_config.tie_word_embeddings = config.tie_word_embeddings
    with no_init_weights(), torch.device(device):
        decoder = AutoModelForCausalLM.from_config(
            config.text_config, dtype=dtype, attn_implementation="sdpa"
        )
        projector = LlavaNextMultiModalProjector(config).to(dtype)
        newline = nn.Parameter(torch.empty(spec.text_width, dtype=dtype))
    decoder.tie_weights()
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    fill(decoder, iter_tensors(folder, _decoder_name), tied=tied)
    fill(projector, iter_tensors(folder, _part("multi_modal_projector")), tied=set())
    holder = nn.ParameterDict({"image_newline": newline})
    fill(holder, iter_tensors(folder, _newline_name), tied=set())
    return LanguageModel(
        spec=spec,
        projector=projector.eval(),
        newline=newline.detach(),
        decoder=decoder.eval(),
        tokenizer=load_tokenizer(spec),
        stop_ids=_stop_ids(folder, config),
    )


def load_tokenizer(spec: ModelSpec) -> Any:
    return AutoTokenizer.from_pretrained(spec.path, trust_remote_code=False)


def load_prompt_template(spec: ModelSpec) -> PromptTemplate:
    """The checkpoint's chat template, from whichever of its files carries it."""
    folder, tokenizer = Path(spec.path), load_tokenizer(spec)
    stored = folder / "chat_template.jinja"
    template = stored.read_text(encoding="utf-8") if stored.is_file() else None
    for name in ("processor_config.json", "chat_template.json", "tokenizer_config.json"):
        template = template or read_json(folder, name).get("chat_template")
    image_token = tokenizer.convert_ids_to_tokens(_config(folder).image_token_index)
    return PromptTemplate(tokenizer=tokenizer, template=template, image_token=image_token)


def _stop_ids(folder: Path, config: Any) -> frozenset[int]:
    stop = read_json(folder, "generation_config.json").get("eos_token_id")
    stop = config.text_config.eos_token_id if stop is None else stop
    return frozenset(stop if isinstance(stop, list) else [stop])


def _part(*prefixes: str) -> Callable[[str], str | None]:
    """Renames `[model.]<prefixes[0]>.[<prefixes[1]>.]rest` to `rest`, drops other names."""

    def rename(name: str) -> str | None:
        rest = name.removeprefix("model.")
        if not rest.startswith(prefixes[0] + "."):
            return None
        for prefix in prefixes:
            rest = rest.removeprefix(prefix + ".")
        return rest

    return rename


def _decoder_name(name: str) -> str | None:
    head = name.removeprefix("model.").removeprefix("language_model.")
    if head.startswith("lm_head."):
        return head
    inner = _part("language_model", "model")(name)
    return None if inner is None else f"model.{inner}"


def _newline_name(name: str) -> str | None:
    return "image_newline" if name.removeprefix("model.") == "image_newline" else None
