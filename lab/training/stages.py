"""The stages of training by name, in their order."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab.training.config import TrainingConfig
from lab.training.data.shards import render_shards
from lab.training.export import export
from lab.training.language.train import train_language
from lab.training.measure import measure
from lab.training.vision.train import train_vision

__all__ = ["STAGES", "run_stages"]

STAGES: dict[str, Callable[[TrainingConfig], None]] = {
    "shards": render_shards,
    "vision": train_vision,
    "language": train_language,
    "export": export,
    "measure": measure,
}


def run_stages(names: Sequence[str], config: TrainingConfig) -> None:
    """Runs the named stages one after the other; `training.log` in the folder keeps what they tell.

    Raises:
        ValueError: A name is no stage.
    """
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise ValueError(f"unknown stage {unknown[0]!r}: choose all or one of {', '.join(STAGES)}")
    with _logging_to(config.folder / "training.log"):
        for name in names:
            STAGES[name](config)


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """What the stages tell goes to the terminal, and with its time to the end of a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    handlers = (file, logging.StreamHandler(sys.stdout))
    log = logging.getLogger("lab.training")
    log.setLevel(logging.INFO)
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
        file.close()
