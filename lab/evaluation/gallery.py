"""What the job made of the shipped samples, beside what is true, in numbers."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from lab.evaluation.scoring.captions import Items, items_named, items_shown

if TYPE_CHECKING:  # The benchmark reads samples where there is no storage to speak to.
    from pipeline.parts.sink import Sink


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A shipped image whose content is known, and a caption that says all of it."""

    image: bytes
    caption: str
    items: Items


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A caption and the truth about its image."""

    image_id: str
    text: str
    tokens: str
    sample: Sample

    @property
    def counts(self) -> tuple[int, int, int]:
        """(items rightly named, items named, items shown)."""
        named = items_named(self.text)
        return len(named & self.sample.items), len(named), len(self.sample.items)


def load_samples(folder: Path) -> dict[str, Sample]:
    """Samples of known content by `image_id`; the broken ones have none and are left out."""
    return dict(_parquet_samples(folder)) | dict(_tar_samples(folder))


def _parquet_samples(folder: Path) -> Iterator[tuple[str, Sample]]:
    for path in sorted(folder.glob("parquet/*.parquet")):
        for ordinal, row in enumerate(pq.read_table(path).to_pylist()):
            if row["truth"] is not None:
                name = path.relative_to(folder).as_posix()
                yield f"{name}#{ordinal}", _sample(row["image"]["bytes"], row["truth"])


def _tar_samples(folder: Path) -> Iterator[tuple[str, Sample]]:
    for path in sorted(folder.glob("webdataset/*.tar")):
        members: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                file = tar.extractfile(member)
                members.setdefault(key, {})[suffix.lower()] = file.read() if file else b""
        for key, parts in members.items():
            truth = json.loads(parts.pop("json"))["truth"]
            if truth is not None and parts:
                name = path.relative_to(folder).as_posix()
                yield f"{name}#{key}", _sample(next(iter(parts.values())), truth)


def _sample(image: bytes, truth: dict[str, Any] | str) -> Sample:
    text = truth if isinstance(truth, str) else json.dumps(truth)
    return Sample(image=image, caption=json.loads(text)["caption"], items=items_shown(text))


def compare(sink: Sink, samples: dict[str, Sample]) -> list[Comparison]:
    """Every stored caption of a known sample, by `image_id`."""
    columns = ["image_id", "text", "visual_tokens_kept", "visual_tokens_dense"]
    rows = [row for table in sink.read("captions", columns) for row in table.to_pylist()]
    return [
        Comparison(
            image_id=row["image_id"],
            text=row["text"],
            tokens=f"{row['visual_tokens_kept']} of {row['visual_tokens_dense']}",
            sample=samples[row["image_id"]],
        )
        for row in sorted(rows, key=lambda row: str(row["image_id"]))
        if row["image_id"] in samples
    ]


def overall_f1(comparisons: list[Comparison]) -> float:
    """Micro-averaged F1 of what all captions name, 0 to 1."""
    counts = np.sum([item.counts for item in comparisons], axis=0)
    return float(2 * counts[0] / max(1, counts[1] + counts[2]))
