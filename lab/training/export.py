"""The trained parts as one ordinary LLaVA-Next checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from lab.training.clock import load_checkpoint
from lab.training.config import TrainingConfig
from lab.training.language.train import LanguageLearner, language_checkpoint
from lab.training.model import empty_model
from lab.training.tokenizer import build_processor
from lab.training.vision.train import load_learner

__all__ = ["EMBEDDED", "drop_paths", "export"]

EMBEDDED = Path(__file__).resolve().parents[2] / "hired_core" / "embedded"


def export(config: TrainingConfig, folder: Path = EMBEDDED) -> None:
    """Writes model and processor in float16 to `folder`, from the stages' last checkpoints."""
    torch.manual_seed(0)
    processor = build_processor()
    model = empty_model(processor)
    learner, _ = load_learner(config)
    model.model.vision_tower.load_state_dict(learner.tower.state_dict())
    if (state := load_checkpoint(language_checkpoint(config))) is not None:
        # The learner holds the model's own modules, so this fills the model.
        LanguageLearner(model).load_state_dict(state["model"])
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    drop_paths(folder / "config.json")
    (folder / "model.safetensors").chmod(0o644)


def drop_paths(path: Path) -> None:
    """Removes `_name_or_path`, which would name a folder of the training machine."""
    text = json.loads(path.read_text())
    for part in (text, *(value for value in text.values() if isinstance(value, dict))):
        part.pop("_name_or_path", None)
    path.write_text(json.dumps(text, indent=2) + "\n")
