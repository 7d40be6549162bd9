"""Rendered training pictures on disk: one folder of memory-mapped arrays per shard."""

from __future__ import annotations

import functools
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lab.rendering.compose import make_picture
from lab.rendering.picture import Picture
from lab.rendering.splits import SPLITS
from lab.training.config import TrainingConfig
from lab.training.data.partitions import cut_picture

__all__ = ["Shard", "finished_shards", "kind_of", "open_shard", "render_shards", "shard_folder"]

_log = logging.getLogger(__name__)
_Bytes = npt.NDArray[np.uint8]
# Of every 20 pictures.
_SHARES = ("scene",) * 12 + ("form",) * 4 + ("chart",) * 4


class Shard(NamedTuple):
    """Partitions of consecutive pictures.

    Attributes:
        pixels: `[n, 3, S, S]`.
        labels: `[n, N, columns]`, see `partitions.LABELS`.
        starts: `[pictures + 1]`, first partition of each picture.
        split: of the pictures.
        first_seed: seed of the first picture.
    """

    pixels: _Bytes
    labels: _Bytes
    starts: npt.NDArray[np.int64]
    split: str
    first_seed: int

    def picture(self, row: int) -> Picture:
        """What a picture of the shard shows."""
        seed = self.first_seed + row
        return make_picture(kind_of(seed), self.split, seed)


def kind_of(seed: int) -> str:
    """Kind of the training or validation picture of a seed."""
    return _SHARES[seed % len(_SHARES)]


def shard_folder(config: TrainingConfig, index: int) -> Path:
    """Folder of a shard; index -1 is the validation shard."""
    return config.folder / "shards" / ("validation" if index < 0 else f"train-{index:03d}")


def finished_shards(config: TrainingConfig) -> list[int]:
    """Indices of the training shards that are complete on disk."""
    indices = range(config.num_shards)
    return [index for index in indices if (shard_folder(config, index) / "starts.npy").exists()]


def render_shards(config: TrainingConfig) -> None:
    """Renders the validation shard and every training shard that is not there yet, on all cores."""
    indices = range(-1, config.num_shards)
    missing = [i for i in indices if not (shard_folder(config, i) / "starts.npy").exists()]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context) as pool:
        for name in pool.map(functools.partial(_render, config), missing):
            _log.info("shards: %s written", name)


def open_shard(config: TrainingConfig, index: int) -> Shard:
    """A finished shard, memory-mapped."""
    folder = shard_folder(config, index)
    pixels, labels = (np.load(folder / f"{x}.npy", mmap_mode="r") for x in Shard._fields[:2])
    return Shard(pixels, labels, np.load(folder / "starts.npy"), *_origin(config, index))


def _origin(config: TrainingConfig, index: int) -> tuple[str, int]:
    """(split, seed of the first picture)."""
    split = "validation" if index < 0 else "train"
    return split, SPLITS[split].first_seed + max(0, index) * config.pictures_per_shard


def _render(config: TrainingConfig, index: int) -> str:
    """Writes a shard; its name."""
    folder, (split, first) = shard_folder(config, index), _origin(config, index)
    seeds = range(first, first + config.pictures_per_shard)
    cut = [cut_picture(make_picture(kind_of(seed), split, seed)) for seed in seeds]
    folder.mkdir(parents=True, exist_ok=True)
    for column, name in enumerate(Shard._fields[:2]):
        np.save(folder / f"{name}.npy", np.concatenate([item[column] for item in cut]))
    # Written last: a shard counts as finished when this file is there.
    np.save(folder / "starts.npy", np.cumsum([0, *(len(item.pixels) for item in cut)]))
    return folder.name
