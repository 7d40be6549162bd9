"""Which family a checkpoint is of, by the `model_type` of its config.json.

Importing this imports no transformers; asking for a family does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

from hired_core.geometry.spec import ModelSpec
from hired_core.models.checkpoint import CheckpointError, read_json, resolve_checkpoint
from hired_core.models.wholeness import check_whole

if TYPE_CHECKING:
    from hired_core.models.base import Family

FAMILIES: Final = {
    "llava": "hired_core.models.llava",
    "llava_next": "hired_core.models.llava_next",
}
"""`model_type` -> module with a `FAMILY`."""


def family(name: str) -> Family:
    """The family of that name."""
    found: Family = importlib.import_module(FAMILIES[name]).FAMILY
    return found


def family_of(spec: ModelSpec) -> Family:
    return family(spec.family)


def load_spec(model: str, revision: str | None = None) -> ModelSpec:
    """What a checkpoint says of itself; reads configuration files, and looks for the others.

    Args:
        model: "embedded", a folder or a Hugging Face id.

    Raises:
        CheckpointError: if there is none, if files are missing or cut short, or if no family here
            supports it; the message says what differs.
    """
    folder = resolve_checkpoint(model, revision)
    content = read_json(folder, "config.json")
    kind = content.get("model_type")
    if kind not in FAMILIES:
        found = f"model_type {kind!r}" if content else "no config.json"
        there = ", ".join(sorted(FAMILIES))
        raise CheckpointError(f"{folder.name} has {found}; families that are read: {there}")
    check_whole(folder)
    return family(kind).spec(folder, model)
