"""A model of native resolution in training: as its family's own code reads it, and as a folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from transformers import AutoModelForImageTextToText, AutoTokenizer, GenerationConfig

from hired_core.geometry.native import Native
from hired_core.geometry.spec import ModelSpec
from hired_core.models.base import Family
from hired_core.models.checkpoint import read_json
from hired_core.models.registry import family_of, load_spec
from lab.training.config import TrainingConfig
from lab.training.export import EMBEDDED
from lab.training.native.recipes import RECIPES, NativeRecipe

__all__ = ["NativeModel", "geometry_of", "open_model", "recipe_of", "write_files"]

_CPU: Final = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class NativeModel:
    """A live model with fresh weights.

    Attributes:
        model: transformers' own.
        projector: the family's, from the tower's features to visual tokens; apart from `model`.
    """

    spec: ModelSpec
    family: Family
    model: Any
    projector: nn.Module
    tokenizer: Any

    @property
    def geometry(self) -> Native:
        return _native(self.spec)


def recipe_of(config: TrainingConfig) -> NativeRecipe:
    return RECIPES[config.recipe]


def open_model(config: TrainingConfig, device: torch.device = _CPU) -> NativeModel:
    """The recipe's model with fresh weights, and its files in the training's folder."""
    folder = write_files(config, config.folder / "empty")
    spec = load_spec(str(folder))
    family = family_of(spec)
    settings = family.config(folder)
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(settings).to(device)
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=96, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    return NativeModel(
        spec=spec,
        family=family,
        model=model,
        projector=family.make_projector(settings),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )


def geometry_of(config: TrainingConfig) -> Native:
    """How the recipe's family cuts images."""
    return _native(load_spec(str(write_files(config, config.folder / "empty"))))


def _native(spec: ModelSpec) -> Native:
    assert isinstance(spec.geometry, Native), "recipes are of families of native resolution"
    return spec.geometry


def write_files(config: TrainingConfig, folder: Path) -> Path:
    """Everything of a checkpoint but weights; the tokenizer and the template are the embedded's."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "chat_template.jinja"):
        shutil.copyfile(EMBEDDED / name, folder / name)
    tokenizer = read_json(EMBEDDED, "tokenizer_config.json")
    tokenizer.pop("processor_class")
    _write(folder / "tokenizer_config.json", tokenizer)
    recipe, embedded = recipe_of(config), read_json(EMBEDDED, "config.json")
    _write(folder / "preprocessor_config.json", dict(recipe.image))
    num_ids = embedded["text_config"]["vocab_size"]
    recipe.config(num_ids, embedded["image_token_index"]).save_pretrained(folder)
    return folder


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
