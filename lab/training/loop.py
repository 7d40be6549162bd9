"""The loop of a stage: steps to the end of its minutes, with log lines and checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lab.training.clock import (
    StageClock,
    cosine_with_warmup,
    load_checkpoint,
    save_checkpoint,
)
from lab.training.machine import has_bfloat16
from lab.training.optimizers import Optimizers

__all__ = ["StageLoop"]

_log = logging.getLogger(__name__)
_WARMUP_STEPS = 200


class StageLoop:
    """Trains a learner, from the stage's checkpoint if there is one.

    Attributes:
        step: steps done so far, 0 without a checkpoint.
    """

    def __init__(
        self, name: str, path: Path, learner: nn.Module, lr: float, device: torch.device
    ) -> None:
        self.step = 0
        self._name, self._path, self._learner = name, path, learner.to(device)
        self._optimizers = Optimizers(learner, lr, has_muon=has_bfloat16(device))
        self._elapsed_sec = 0.0
        if (state := load_checkpoint(path)) is not None:
            learner.load_state_dict(state["model"])
            self._optimizers.load_state_dict(state["optimizers"])
            self.step, self._elapsed_sec = state["step"], state["elapsed_sec"]

    def train(
        self,
        minutes: float,
        checkpoint_sec: float,
        next_loss: Callable[[], Tensor],
        describe: Callable[[], str],
        log_every: int,
    ) -> None:
        """Steps on the losses of new batches until the stage has had its minutes.

        `describe` says what the last steps got right, for the log.
        """
        clock = StageClock(60 * minutes, self._elapsed_sec)
        saved_sec = clock.elapsed_sec
        while (progress := clock.lap()) < 1.0:
            loss = next_loss()
            self._optimizers.step(loss, cosine_with_warmup(self.step, progress, _WARMUP_STEPS))
            self.step += 1
            if self.step % log_every == 0:
                minute = clock.elapsed_sec / 60
                place = f"{self._name}: step {self.step} minute {minute:.1f}"
                _log.info("%s loss %.3f %s", place, loss.item(), describe())
            if clock.elapsed_sec - saved_sec > checkpoint_sec:
                self._save(clock)
                saved_sec = clock.elapsed_sec
        self._save(clock)

    def _save(self, clock: StageClock) -> None:
        state = {
            "model": self._learner.state_dict(),
            "optimizers": self._optimizers.state_dict(),
            "step": self.step,
            "elapsed_sec": clock.elapsed_sec,
        }
        save_checkpoint(self._path, state)
