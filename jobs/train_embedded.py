"""Trains the embedded model: `python jobs/train_embedded.py all`, or one stage of it.

Every stage continues from its last checkpoint, on a GPU if there is one. Stages: shards, vision,
language, export, measure. Options such as `--training.vision_minutes 10` come after the stage;
checkpoints and `training.log` go to `--training.folder`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import auto_cli

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.training.config import TrainingConfig
from lab.training.stages import STAGES, run_stages

_DEFAULTS = TrainingConfig()


# Not `config`: that name is the parser's own option for a file.
def train(stage: str, training: TrainingConfig = _DEFAULTS) -> None:
    """Runs one stage, or `all` of them in order."""
    run_stages(list(STAGES) if stage == "all" else [stage], training)


if __name__ == "__main__":
    auto_cli(train, as_positional=True)
