"""Trains the embedded model: `python jobs/train_embedded.py all`, or one stage of it.

Every stage continues from its last checkpoint. Stages: shards, vision, language, export.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import auto_cli

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.training.config import TrainingConfig
from pipeline.training.stages import STAGES, run_stages


def train(stage: str, config: TrainingConfig | None = None) -> None:
    """Runs one stage, or `all` of them in order."""
    names = list(STAGES) if stage == "all" else [stage]
    run_stages(names, config or TrainingConfig())


if __name__ == "__main__":
    auto_cli(train, as_positional=True)
