"""Rendered training scenes on disk: one folder of memory-mapped arrays per shard."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.scenes import make_scene
from pipeline.training.config import TRAIN_SEED, VALIDATION_SEED, TrainingConfig
from pipeline.training.partitions import cut_scene

__all__ = ["Shard", "finished_shards", "open_shard", "render_shards", "shard_folder"]

_Bytes = npt.NDArray[np.uint8]


class Shard(NamedTuple):
    """Partitions of consecutive scenes.

    Attributes:
        pixels: `[n, 3, S, S]`; classes and places: `[n, N]`.
        starts: `[scenes + 1]`, first partition of each scene.
        first_seed: seed of the first scene.
    """

    pixels: _Bytes
    classes: _Bytes
    places: _Bytes
    starts: npt.NDArray[np.int64]
    first_seed: int


def shard_folder(config: TrainingConfig, index: int) -> Path:
    """Folder of a shard; index -1 is the validation shard."""
    return config.folder / "shards" / ("validation" if index < 0 else f"train-{index:03d}")


def finished_shards(config: TrainingConfig) -> list[int]:
    """Indices of the training shards that are complete on disk."""
    indices = range(config.num_shards)
    return [index for index in indices if (shard_folder(config, index) / "starts.npy").exists()]


def render_shards(config: TrainingConfig) -> None:
    """Renders the validation shard and every training shard that is not there yet."""
    for index in range(-1, config.num_shards):
        folder = shard_folder(config, index)
        if not (folder / "starts.npy").exists():
            _render(config, index, folder)
            print(f"shards: {folder.name} written", flush=True)


def open_shard(config: TrainingConfig, index: int) -> Shard:
    """A finished shard, memory-mapped."""
    folder = shard_folder(config, index)
    pixels, classes, places = (
        np.load(folder / f"{name}.npy", mmap_mode="r") for name in Shard._fields[:3]
    )
    starts = np.load(folder / "starts.npy")
    return Shard(pixels, classes, places, starts, _first_seed(config, index))


def _first_seed(config: TrainingConfig, index: int) -> int:
    return VALIDATION_SEED if index < 0 else TRAIN_SEED + index * config.scenes_per_shard


def _render(config: TrainingConfig, index: int, folder: Path) -> None:
    first = _first_seed(config, index)
    scenes = [cut_scene(make_scene(first + i)) for i in range(config.scenes_per_shard)]
    folder.mkdir(parents=True, exist_ok=True)
    for column, name in enumerate(Shard._fields[:3]):
        np.save(folder / f"{name}.npy", np.concatenate([scene[column] for scene in scenes]))
    starts = np.cumsum([0, *(len(scene.pixels) for scene in scenes)])
    # Written last: a shard counts as finished when this file is there.
    np.save(folder / "starts.npy", starts)
