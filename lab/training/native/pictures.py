"""Rendered scenes as a family of native resolution cuts them, with a label for every patch.

Legend: `T` patches of all pictures of a shard, token by token as `Native.cut` orders them.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from hired_core.geometry.base import Resize
from hired_core.geometry.native import Native, uncut
from lab.rendering.compose import make_picture
from lab.rendering.drawing import draw_picture
from lab.rendering.geometry import content_size
from lab.rendering.picture import Picture
from lab.rendering.splits import SPLITS
from lab.rendering.vocabulary import FIRST_GLYPH, NUM_CLASSES
from lab.training.config import TrainingConfig
from lab.training.data.augment import augment
from lab.training.data.partitions import label_patches

__all__ = ["TEXT", "Grid", "NativePictures", "Seen", "cut_scene", "render_scenes"]

Grid = tuple[int, int]
"""(rows, cols) of visual tokens."""
TEXT = FIRST_GLYPH
"""Label of a patch of a sign: whatever the glyph, it is too small."""
_Bytes = npt.NDArray[np.uint8]
_log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """Pictures of a batch, one after the other.

    Attributes:
        patches: uint8 `[T, 3, p, p]`.
        labels: int64 `[T, 2]`: 0 nothing, coloured shapes from 1, `TEXT`, or `IGNORED`; and 1 where
            an object's centre lies.
        grids: of each picture.
        pictures: what they show.
    """

    patches: Tensor
    labels: Tensor
    grids: list[Grid]
    pictures: list[Picture]


def cut_scene(picture: Picture, geometry: Native) -> tuple[_Bytes, _Bytes, Grid]:
    """Patches and labels of a picture, see `Seen`, and its grid."""
    drawn, size = draw_picture(picture, with_masks=True), (picture.height, picture.width)

    patches = geometry.cut(_resizing(drawn.image, Image.Resampling.BICUBIC), size)
    shown = geometry.cut(_resizing(drawn.masks[0], Image.Resampling.NEAREST), size)
    classes = label_patches(shown[:, 0].reshape(len(shown), -1), NUM_CLASSES)
    classes[(classes >= TEXT) & (classes < NUM_CLASSES)] = TEXT
    grid = geometry.token_grid(size)
    return patches, _with_centres(classes, picture, geometry, grid), grid


def _resizing(image: Image.Image, how: Image.Resampling) -> Resize:
    def resize(size: Grid | None, of: Any = None) -> _Bytes:
        height, width = size or (image.height, image.width)
        pixels = np.asarray(image.convert("RGB").resize((width, height), how))
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    return resize


def _with_centres(classes: _Bytes, picture: Picture, geometry: Native, grid: Grid) -> _Bytes:
    """`[n, 2]`: where the centre of an object lies, its class is told however little is seen."""
    labels = np.stack([classes, np.zeros_like(classes)], axis=-1)
    width, height = content_size(picture.width, picture.height)
    r = geometry.merge
    for item in picture.objects:
        row = min(int(item.y / height * grid[0] * r), grid[0] * r - 1)
        col = min(int(item.x / width * grid[1] * r), grid[1] * r - 1)
        token = row // r * grid[1] + col // r
        labels[token * r * r + row % r * r + col % r] = 1 + item.class_id, 1
    return labels


class NativePictures:
    """The rendered shards of a training, read into memory: about 150 kB a picture."""

    def __init__(self, config: TrainingConfig, geometry: Native) -> None:
        self._geometry = geometry
        folders = [_folder(config, index) for index in range(config.num_shards)]
        there = [folder for folder in folders if (folder / "grids.npy").exists()]
        if not there:
            raise ValueError("no training shard is rendered yet: run the stage `shards` first")
        self._pieces = [np.load(folder / "patches.npy", mmap_mode="r") for folder in there]
        self._labels = [np.load(folder / "labels.npy", mmap_mode="r") for folder in there]
        self._grids = [np.load(folder / "grids.npy") for folder in there]
        self._seeds = [int(np.load(folder / "seed.npy")) for folder in there]
        area = geometry.merge**2
        self._starts = [np.cumsum([0, *(grids.prod(1) * area)]) for grids in self._grids]

    def draw(self, rng: np.random.Generator, size: int) -> Seen:
        """`size` random pictures, each a little changed."""
        patches, labels, grids, pictures = [], [], [], []
        for _ in range(size):
            shard = int(rng.integers(len(self._grids)))
            row = int(rng.integers(len(self._grids[shard])))
            here = slice(self._starts[shard][row], self._starts[shard][row + 1])
            rows, cols = (int(n) for n in self._grids[shard][row])
            patches.append(self._changed(self._pieces[shard][here], (rows, cols), rng))
            labels.append(np.asarray(self._labels[shard][here]))
            grids.append((rows, cols))
            pictures.append(make_picture("scene", "train", self._seeds[shard] + row))
        told = torch.from_numpy(np.concatenate(labels).astype(np.int64))
        return Seen(torch.from_numpy(np.concatenate(patches)), told, grids, pictures)

    def _changed(self, pieces: _Bytes, grid: Grid, rng: np.random.Generator) -> _Bytes:
        image = torch.from_numpy(uncut(np.asarray(pieces), grid))[None]
        moved = augment(image, rng)[0].numpy()

        def as_it_is(size: Grid | None, of: Any = None) -> _Bytes:
            return moved

        return self._geometry.cut(as_it_is, (moved.shape[1], moved.shape[2]))


def render_scenes(config: TrainingConfig, geometry: Native, num_processes: int) -> None:
    """Renders every training shard that is not there yet."""
    missing = [
        index
        for index in range(config.num_shards)
        if not (_folder(config, index) / "grids.npy").exists()
    ]
    render = functools.partial(_render, config, geometry)
    if num_processes < 2:
        for index in missing:
            _log.info("shards: %s written", render(index))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        for name in pool.map(render, missing):
            _log.info("shards: %s written", name)


def _folder(config: TrainingConfig, index: int) -> Path:
    return config.folder / "scenes" / f"train-{index:03d}"


def _render(config: TrainingConfig, geometry: Native, index: int) -> str:
    """Writes a shard; its name."""
    folder = _folder(config, index)
    first = SPLITS["train"].first_seed + index * config.pictures_per_shard
    seeds = range(first, first + config.pictures_per_shard)
    cut = [cut_scene(make_picture("scene", "train", seed), geometry) for seed in seeds]
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder, "patches", [patches for patches, _, _ in cut])
    _save(folder, "labels", [labels for _, labels, _ in cut])
    np.save(folder / "seed.npy", np.array(first))
    # Written last: a shard counts as finished when this file is there.
    np.save(folder / "grids.npy", np.array([grid for _, _, grid in cut]))
    return folder.name


def _save(folder: Path, name: str, columns: Sequence[_Bytes]) -> None:
    np.save(folder / f"{name}.npy", np.concatenate(columns))
