"""Which family a checkpoint is of, by its config.json: `model_type`, or LLaVA's own format.

Importing this imports no transformers; asking for a family does.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hired_core.geometry.spec import ModelSpec
from hired_core.models.checkpoint import CheckpointError, read_json, resolve_checkpoint
from hired_core.models.original.translation import is_original, original_family

if TYPE_CHECKING:
    from hired_core.models.base import Family

FAMILIES: Final = {
    "idefics3": "hired_core.models.idefics3",
    "internvl": "hired_core.models.internvl",
    "llava": "hired_core.models.llava",
    "llava_next": "hired_core.models.llava_next",
    "llava_onevision": "hired_core.models.llava_onevision",
    "qwen2_5_vl": "hired_core.models.qwen.qwen2_5_vl",
    "qwen2_vl": "hired_core.models.qwen.qwen2_vl",
    "qwen3_vl": "hired_core.models.qwen.qwen3_vl",
    "smolvlm": "hired_core.models.smolvlm",
}
"""`model_type` -> module with a `FAMILY`."""


def family(name: str) -> Family:
    """The family of that name."""
    found: Family = importlib.import_module(FAMILIES[name]).FAMILY
    return found


def family_of(spec: ModelSpec) -> Family:
    return family(spec.family)


def load_spec(
    model: str, revision: str | None = None, image_options: Mapping[str, Any] | None = None
) -> ModelSpec:
    """What a checkpoint says of itself; reads configuration files only.

    Args:
        model: "embedded", a folder or a Hugging Face id.
        image_options: the family's own, of how images are cut.

    Raises:
        SettingError: for an option that the family does not have, or a value that it cannot take.
        CheckpointError: if there is none, or none that a family here supports; the message says
            what differs.
    """
    folder = resolve_checkpoint(model, revision)
    content = read_json(folder, "config.json")
    kind = content.get("model_type")
    if is_original(content):
        kind = original_family(folder.name, content)
    if kind not in FAMILIES:
        found = f"model_type {kind!r}" if content else "no config.json"
        there = ", ".join(sorted(FAMILIES))
        raise CheckpointError(f"{folder.name} has {found}; families that are read: {there}")
    return family(kind).spec(folder, model, image_options)


def load_whole_spec(
    model: str, revision: str | None = None, image_options: Mapping[str, Any] | None = None
) -> ModelSpec:
    """As `load_spec`, of a checkpoint that has its other files too, for those who will read them.

    Raises:
        SettingError, CheckpointError: as there, or if files are missing or cut short.
    """
    spec = load_spec(model, revision, image_options)
    folder = Path(spec.path)
    if problems := family_of(spec).problems(folder):
        raise CheckpointError(f"the checkpoint {folder.name} is not whole: {'; '.join(problems)}")
    return spec
