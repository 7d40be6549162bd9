"""The stages of training by name, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.training.config import TrainingConfig
from pipeline.training.export import export
from pipeline.training.language import train_language
from pipeline.training.measure import measure
from pipeline.training.shards import render_shards
from pipeline.training.vision import train_vision

__all__ = ["STAGES", "run_stages"]

STAGES: dict[str, Callable[[TrainingConfig], None]] = {
    "shards": render_shards,
    "vision": train_vision,
    "language": train_language,
    "export": export,
    "measure": measure,
}


def run_stages(names: Sequence[str], config: TrainingConfig) -> None:
    """Runs the named stages one after the other.

    Raises:
        ValueError: A name is no stage.
    """
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise ValueError(f"unknown stage {unknown[0]!r}: choose all or one of {', '.join(STAGES)}")
    for name in names:
        STAGES[name](config)
