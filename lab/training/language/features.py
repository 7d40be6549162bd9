"""Patch features of the trained, frozen vision tower, computed as the language stage needs them.

The forward pass of the tower costs a tenth of a language step. Keeping its output on disk instead
took 25 kB per partition and, before the first step, longer than it saved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.training.config import TrainingConfig
from lab.training.machine import precision
from lab.training.vision.train import load_learner, normalise

__all__ = ["FrozenTower"]


class FrozenTower:
    """The vision tower of the last vision checkpoint, without gradients."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self._learner, trained = load_learner(config)
        if not trained["steps"]:
            raise ValueError(f"no vision checkpoint in {config.folder}: run the stage `vision`")
        self._learner.eval().requires_grad_(False).to(device)
        self._precision = precision(device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """`hidden_states[-2]` without CLS, float32 `[n, N, C]`, of uint8 `[n, 3, S, S]`."""
        with torch.no_grad(), self._precision:
            return self._learner.features(normalise(pixels))[:, 1:].float()
