"""Patch features of the trained vision tower of rendered scenes, kept on disk.

The vision tower is frozen while the language model learns, so its output is computed once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.training.clock import can_compile
from pipeline.training.config import TrainingConfig
from pipeline.training.shards import finished_shards, open_shard, shard_folder
from pipeline.training.vision import load_learner, normalise

__all__ = [
    "compute_features",
    "feature_statistics",
    "open_features",
    "shards_with_features",
]

_BATCH = 128


def compute_features(config: TrainingConfig) -> None:
    """Writes `[n, N, C]` float16 features beside each of the language shards that has none yet."""
    learner, _ = load_learner(config)
    learner.eval()
    features = torch.compile(learner.features) if can_compile() else learner.features
    for index in finished_shards(config)[: config.language_shards]:
        path = _path(config, index)
        if path.exists():
            continue
        pixels, parts = open_shard(config, index).pixels, []
        for start in range(0, len(pixels), _BATCH):
            batch = torch.from_numpy(pixels[start : start + _BATCH].copy())
            missing = _BATCH - len(batch)
            # One shape for the compiler: the last batch is filled up and cut again.
            batch = torch.cat((batch, batch.new_zeros(missing, *batch.shape[1:])))
            with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = features(normalise(batch))
            parts.append(hidden[: _BATCH - missing, 1:].to(torch.float16).numpy())
        part = path.with_suffix(".part.npy")
        np.save(part, np.concatenate(parts))
        part.replace(path)
        print(f"features: {path.parent.name} written", flush=True)


def open_features(config: TrainingConfig, index: int) -> npt.NDArray[np.float16]:
    """The features of a shard, memory-mapped."""
    array: npt.NDArray[np.float16] = np.load(_path(config, index), mmap_mode="r")
    return array


def shards_with_features(config: TrainingConfig) -> list[int]:
    """Indices of the language shards whose features are complete on disk."""
    indices = range(config.language_shards)
    return [index for index in indices if _path(config, index).exists()]


def feature_statistics(config: TrainingConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each feature channel, float32 `[C]`, on the first shard."""
    sample = torch.from_numpy(open_features(config, 0)[:500].astype(np.float32)).flatten(0, 1)
    return sample.mean(0), sample.std(0)


def _path(config: TrainingConfig, index: int) -> Path:
    return shard_folder(config, index) / "features.npy"
