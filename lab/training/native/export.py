"""The trained parts as one ordinary checkpoint of the family."""

from __future__ import annotations

from pathlib import Path

import torch

from lab.training.clock import load_checkpoint
from lab.training.config import TrainingConfig
from lab.training.export import drop_paths
from lab.training.native.language import decoder_checkpoint, make_learner
from lab.training.native.model import open_model, recipe_of, write_files
from lab.training.native.vision import load_tower

__all__ = ["export_native"]


def export_native(config: TrainingConfig, folder: Path | None = None) -> None:
    """Writes model, tokenizer and image settings, by default beside the training's checkpoints."""
    folder = folder or config.folder / "model"
    native = open_model(config)
    load_tower(config, native)
    if (state := load_checkpoint(decoder_checkpoint(config))) is not None:
        make_learner(native).load_state_dict(state["model"])
    # Names of the projector are those of the tower's parts that it consists of.
    native.model.model.visual.load_state_dict(native.projector.state_dict(), strict=False)
    write_files(config, folder)
    native.model.to(getattr(torch, recipe_of(config).dtype)).save_pretrained(folder)
    drop_paths(folder / "config.json")
    (folder / "model.safetensors").chmod(0o644)
