"""Writes the sample shards: `python jobs/render_samples.py`. The same files every time."""

from __future__ import annotations

import sys
from pathlib import Path

from jsonargparse import auto_cli

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.rendering.samples import (
    bad_samples,
    make_samples,
    write_parquet,
    write_webdataset,
)


def render(folder: Path = Path("samples"), num_images: int = 64) -> None:
    """Renders `num_images` pictures, half to two Parquet shards and half to two WebDataset shards.

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


if __name__ == "__main__":
    auto_cli(render)
