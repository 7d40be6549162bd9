"""What config.json of LLaVA's own format says, in transformers' terms."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from hired_core.models.checkpoint import CheckpointError

DECODERS: Final = {
    "llava": "llama",
    "llava_llama": "llama",
    "llava_mistral": "mistral",
    "llava_qwen": "qwen2",
    "share4v": "llama",
}
"""`model_type` of the format -> that of the decoder."""

_FAMILIES: Final = {"square": "llava", "pad": "llava", "anyres": "llava_next"}
"""`image_aspect_ratio` -> family."""

_READ: Final[dict[str, tuple[Any, ...]]] = {
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_vision_select_feature": ("patch", None),
    "mm_use_im_start_end": (False, None),
    "mm_resampler_type": (None,),
    "s2": (False, None),
}
"""What settings have to be; None: they may be missing."""

_ROTARY_BASE: Final = 10000.0
"""Of Llama, where a file does not say; LLaVA-1.5's do not."""


def is_original(content: Mapping[str, Any]) -> bool:
    """Whether a config.json is of LLaVA's own format: it names a vision tower, where transformers'
    holds its configuration."""
    return bool(content.get("mm_vision_tower")) and "vision_config" not in content


def original_family(name: str, content: Mapping[str, Any]) -> str:
    """The family that reads a checkpoint of LLaVA's own format.

    Args:
        name: of the checkpoint, for messages.

    Raises:
        CheckpointError: for what is not read; the message says what is.
    """
    _require(name, "model_type", content.get("model_type"), tuple(DECODERS))
    ratio = content.get("image_aspect_ratio") or "square"
    _require(name, "image_aspect_ratio", ratio, tuple(_FAMILIES))
    for key, allowed in _READ.items():
        _require(name, key, content.get(key), allowed)
    if ratio == "anyres":
        _require(name, "mm_patch_merge_type", content.get("mm_patch_merge_type"), _UNPADDED)
    return _FAMILIES[ratio]


_UNPADDED: Final = ("spatial_unpad",)


def text_config(content: Mapping[str, Any]) -> Any:
    """transformers' configuration of the decoder, which lies open in the same file."""
    from transformers import CONFIG_MAPPING

    kind = CONFIG_MAPPING[DECODERS[content["model_type"]]]
    known = set(kind().to_dict()) - {"model_type", "architectures", "transformers_version"}
    rotary = dict(content.get("rope_scaling") or {"rope_type": "default"})
    rotary["rope_type"] = rotary.pop("type", rotary.get("rope_type"))
    rotary["rope_theta"] = content.get("rope_theta", _ROTARY_BASE)
    own = {key: value for key, value in content.items() if key in known}
    return kind(**{"rope_parameters": rotary, **own})


def joint_config(family: str, content: Mapping[str, Any], vision: Any) -> Any:
    """transformers' configuration of the whole model.

    The id of the image token lies behind the vocabulary: it is never embedded.

    Args:
        vision: configuration of the tower.
    """
    from transformers import CONFIG_MAPPING

    text = text_config(content)
    anyres = {"image_grid_pinpoints": pinpoints(content)} if family == "llava_next" else {}
    return CONFIG_MAPPING[family](
        vision_config=vision,
        text_config=text,
        vision_feature_layer=content.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        image_token_index=text.vocab_size,
        tie_word_embeddings=text.tie_word_embeddings,
        dtype=content.get("torch_dtype") or content.get("dtype"),
        **anyres,
    )


def image_settings(content: Mapping[str, Any], tower: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers' image processor would be told.

    Args:
        tower: what the tower's files say of its image processor.
    """
    if content.get("image_aspect_ratio") == "anyres":
        return {**tower, "image_grid_pinpoints": pinpoints(content)}
    return {**tower, "do_pad": content.get("image_aspect_ratio") == "pad"}


def pinpoints(content: Mapping[str, Any]) -> list[list[int]]:
    """(height, width) of the canvases on offer; the format has (width, height), or a text of them.

    transformers' conversions of the published checkpoints take them as they are, which is the same
    list in another order: of canvases that are equally good the first is taken.

    Raises:
        CheckpointError: if they are no such list.
    """
    said: Any = content.get("image_grid_pinpoints")
    try:
        pairs = ast.literal_eval(said) if isinstance(said, str) else said
        return [[int(height), int(width)] for width, height in pairs]
    except (ValueError, TypeError, SyntaxError) as exc:
        raise CheckpointError(f"image_grid_pinpoints {said!r} are no list of sizes") from exc


def transformers_name(name: str) -> str:
    """A tensor's name as transformers stores it."""
    for own, theirs in _NAMES:
        if name.startswith(own):
            return theirs + name.removeprefix(own)
    return name


TOWER_WEIGHTS: Final = "model.vision_tower."
"""How names of the tower begin, where the checkpoint holds it."""

_NAMES: Final = (
    ("model.mm_projector.0.", "model.multi_modal_projector.linear_1."),
    ("model.mm_projector.2.", "model.multi_modal_projector.linear_2."),
    (f"{TOWER_WEIGHTS}vision_tower.", "model.vision_tower."),
    *(
        (f"model.{part}", f"model.language_model.{part}")
        for part in ("embed_tokens.", "layers.", "norm.")
    ),
)


def _require(name: str, key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        shown = ", ".join(map(repr, filter(lambda each: each is not None, allowed)))
        raise CheckpointError(
            f"{name} is in LLaVA's own format with {key} {value!r}, which is read with "
            f"{shown or 'none'} only"
        )
