"""Writes the shipped sample shards anew; the same files every time."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lab.rendering.samples import bad_samples, make_samples, write_parquet, write_webdataset

__all__ = ["main", "render"]


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=render.__doc__, allow_abbrev=False)
    parser.add_argument("--folder", type=Path, default=Path("lab/demo/samples"))
    parser.add_argument("--num-images", type=int, default=64)
    options = parser.parse_args(argv)
    render(options.folder, options.num_images)
    return 0


def render(folder: Path, num_images: int) -> None:
    """Renders pictures, half to two Parquet shards and half to two WebDataset shards.

    Each of the four shards gets an equal share; the last shard of each kind also holds three bad
    files.
    """
    samples = make_samples(num_images)
    for half, (name, write) in enumerate(
        (("parquet", write_parquet), ("webdataset", write_webdataset))
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        ending = "parquet" if name == "parquet" else "tar"
        bad = bad_samples(num_images + 3 * half)
        for part in range(2):
            rows = samples[2 * half + part :: 4] + (bad if part == 1 else [])
            write(rows, folder / name / f"samples-{part:02d}.{ending}")
