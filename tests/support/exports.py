"""Outputs to export: real parts and ledger over a tar, a Parquet file and a folder of images."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.ledger.identity import Identity
from pipeline.parts.sink import LOCK, Sink
from pipeline.sources import ReadOptions, list_input
from tests.support.one_run import Run
from tests.support.source_files import tar_shard

__all__ = ["Corpus", "captioned", "colour", "png"]


def png(number: int) -> bytes:
    """A small image whose colour tells which one it is."""
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), colour(number)).save(buffer, "PNG")
    return buffer.getvalue()


def colour(number: int) -> tuple[int, int, int]:
    return (number, 2 * number, 255 - number)


@dataclass(frozen=True)
class Corpus:
    """Twelve images and what was captioned of them."""

    root: Path
    output: Path

    def captions(self) -> dict[str, dict[str, Any]]:
        """Rows of captions/ by image_id, read without the ledger."""
        tables = Sink(url=str(self.output)).read("captions")
        return {row["image_id"]: row for table in tables for row in table.to_pylist()}


def captioned(folder: Path, *, questions: bool = False) -> Corpus:
    """A finished output; with `questions`, of the Parquet file alone, two asked of each image."""
    root = folder / "in"
    (root / "photos").mkdir(parents=True)
    prompts = [[f"what {i}?", f"who {i}?"] for i in range(4)]
    table = pa.table({"image": [png(i) for i in range(4)], "question": prompts})
    pq.write_table(table, root / "a.parquet")
    tar_shard(root / "b.tar", [(f"x/{i}.png", png(i)) for i in range(4, 8)])
    for i, name in enumerate(("Cat.png", "cat.PNG", "d.e.png", "ü #1?.png"), start=8):
        (root / "photos" / name).write_bytes(png(i))
    sink = Sink(url=str(folder / "out"))
    inputs = [str(root / "a.parquet") if questions else str(root)]
    listing = list_input(inputs, storage_options={}, input_root=str(root))
    column = {"prompt_column": "question"} if questions else {"prompt": "p"}
    run = Run(
        run_id="1",
        shards=listing.shards,
        identity=Identity(fingerprint="f" * 16, fields={}, input_root=listing.root),
        options=ReadOptions(**column, batch_rows=2),
        bad=frozenset({"b.tar#x/5"}),
        rows_per_part=5,
    )
    run.play(sink)
    sink.remove(LOCK)
    return Corpus(root, folder / "out")
