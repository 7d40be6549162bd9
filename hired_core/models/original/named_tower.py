"""The vision tower that a checkpoint of LLaVA's own format names.

Its weights are in the checkpoint itself, as of LLaVA-1.6, or in a checkpoint of its own: a folder
inside or beside the one that names it, or a Hugging Face id. Weights inside go before all others:
they are those that it was trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from hired_core.models.checkpoint import (
    CheckpointError,
    has_tensors,
    image_processor,
    read_json,
    resolve_checkpoint,
)
from hired_core.models.original.translation import TOWER_WEIGHTS

KNOWN: Final[dict[str, dict[str, int]]] = {
    "clip-vit-large-patch14-336": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
        "projection_dim": 768,
    },
}
"""Shapes of towers that checkpoints hold the weights of, and not the settings: openai's CLIP, which
all published LLaVA-1.5 and 1.6 have. Its image processor is transformers' default at this size."""

_KINDS: Final = ("clip_vision_model", "clip")
_TEXT_SIDE: Final = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")
"""Of a CLIP that has both sides."""


class Tower(NamedTuple):
    """Where a tower is.

    Attributes:
        inside: whether the checkpoint that names it holds its weights.
        folder: its own checkpoint; None: it is inside, and of a shape that is `KNOWN`.
        name: its last part.
    """

    inside: bool
    folder: Path | None
    name: str


def find_tower(folder: Path, content: Mapping[str, Any]) -> Tower:
    """The tower that the checkpoint in `folder`, whose config.json is `content`, names.

    Raises:
        CheckpointError: if it is not to be had; the message says what to do.
    """
    said = str(content["mm_vision_tower"])
    name, inside = Path(said).name, has_tensors(folder, TOWER_WEIGHTS)
    for place in (folder / said, folder / name, folder.parent / name):
        if place != folder and (place / "config.json").is_file():
            return Tower(inside, place, name)
    if inside and name in KNOWN:
        return Tower(inside, None, name)
    try:
        return Tower(inside, resolve_checkpoint(said), name)
    except CheckpointError as exc:
        raise CheckpointError(
            f"{folder.name} names a vision tower that is neither in it nor beside it ({exc}); put "
            f"its config.json, preprocessor_config.json and safetensors into {folder.name}/{name}"
        ) from exc


def tower_config(tower: Tower) -> Any:
    """transformers' configuration of it.

    Raises:
        CheckpointError: if it is no CLIP.
    """
    from transformers import CLIPVisionConfig

    if tower.folder is None:
        return CLIPVisionConfig(**KNOWN[tower.name])
    kind = read_json(tower.folder, "config.json").get("model_type")
    if kind not in _KINDS:
        raise CheckpointError(f"the vision tower {tower.name} is {kind}; only CLIP is supported")
    return CLIPVisionConfig.from_pretrained(tower.folder)


def tower_image_processor(tower: Tower) -> dict[str, Any]:
    """What its files say of its image processor."""
    return {} if tower.folder is None else image_processor(tower.folder)


def tower_name(name: str) -> str | None:
    """A name of the tower's own checkpoint as transformers' LLaVA has it; None of what is no part
    of the tower."""
    if name.startswith(_TEXT_SIDE):
        return None
    return f"model.vision_tower.vision_model.{name.removeprefix('vision_model.')}"
