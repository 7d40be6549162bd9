"""The stages of training by name, in their order."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from lab.training.config import TrainingConfig
from lab.training.data.shards import render_shards
from lab.training.export import export
from lab.training.language.train import train_language
from lab.training.measure import measure
from lab.training.native.export import export_native
from lab.training.native.language import train_decoder
from lab.training.native.model import geometry_of
from lab.training.native.pictures import render_scenes
from lab.training.native.recipes import RECIPES
from lab.training.native.vision import train_tower
from lab.training.vision.train import train_vision

__all__ = ["STAGES", "run_stages", "stages_of"]

Stage = Callable[[TrainingConfig], None]
STAGES: dict[str, Stage] = {
    "shards": render_shards,
    "vision": train_vision,
    "language": train_language,
    "export": export,
    "measure": measure,
}
_NATIVE: dict[str, Stage] = {
    "shards": lambda config: render_scenes(config, geometry_of(config), torch.get_num_threads()),
    "vision": train_tower,
    "language": train_decoder,
    "export": export_native,
}


def stages_of(config: TrainingConfig) -> dict[str, Stage]:
    """Of the recipe, in their order; one of native resolution is measured by `hired evaluate`."""
    return _NATIVE if config.recipe in RECIPES else STAGES


def run_stages(names: Sequence[str], config: TrainingConfig) -> None:
    """Runs the named stages one after the other; `training.log` in the folder keeps what they tell.

    Raises:
        ValueError: A name is no stage of the recipe.
    """
    there = stages_of(config)
    unknown = [name for name in names if name not in there]
    if unknown:
        raise ValueError(f"unknown stage {unknown[0]!r}: choose all or one of {', '.join(there)}")
    with _logging_to(config.folder / "training.log"):
        for name in names:
            there[name](config)


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
