"""The sample shards the project ships: Parquet and WebDataset files with known content."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lab.rendering.benchmark import is_padded
from lab.rendering.compose import make_picture
from lab.rendering.drawing import draw_picture
from lab.rendering.geometry import CANVASES, best_canvas
from lab.rendering.picture import Picture
from lab.rendering.splits import SAMPLE_SEED
from lab.rendering.tasks import CAPTION_PROMPTS, TASKS, caption, truth_json

__all__ = [
    "Sample",
    "bad_samples",
    "make_samples",
    "write_parquet",
    "write_webdataset",
]

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", _IMAGE),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("truth", pa.string()),
    ]
)
# File endings as users have them, and the format behind each.
_FORMATS = (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("JPG", "JPEG"), ("jpg", "JPEG"))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row: an image file, a question, its answer, and what it shows (None: a bad file)."""

    key: str
    ending: str
    data: bytes
    question: str
    answer: str
    truth: str | None


# Of every ten samples.
_KINDS = ("scene",) * 3 + ("form",) + ("scene",) * 3 + ("chart",) + ("scene",) * 2


def make_samples(num_images: int) -> list[Sample]:
    """Samples of the test split in equal shares over the five grids, padded or not by turns.

    Every fourth asks for a caption; the others go through the other tasks.
    """
    wanted = [(canvas, padded) for padded in (False, True) for canvas in CANVASES]
    samples: list[Sample] = []
    seed = SAMPLE_SEED
    while len(samples) < num_images:
        index = len(samples)
        # Not the same kind on the same grid every time.
        picture = make_picture(_KINDS[(index + index // 10) % len(_KINDS)], "test", seed)
        canvas, padded = wanted[index % len(wanted)]
        seed += 1
        if best_canvas(picture.width, picture.height) == canvas and is_padded(picture) == padded:
            samples.append(_sample(index, picture))
    return samples


def bad_samples(first_index: int) -> list[Sample]:
    """A truncated JPEG, an empty file and text under an image's name."""
    good = _encode(make_picture("scene", "test", SAMPLE_SEED - 1), "JPEG")
    contents = (good[: 2 * len(good) // 3], b"", b"this is no image\n")
    return [
        Sample(
            key=f"{first_index + i:06d}",
            ending="jpg",
            data=data,
            question=CAPTION_PROMPTS[0],
            answer="",
            truth=None,
        )
        for i, data in enumerate(contents)
    ]


def write_parquet(samples: list[Sample], path: Path) -> None:
    """One Parquet shard with images as `datasets` stores them, 8 rows to a row group."""
    rows = [
        {
            "image_id": sample.key,
            "image": {"bytes": sample.data, "path": f"{sample.key}.{sample.ending}"},
            "question": sample.question,
            "answer": sample.answer,
            "truth": sample.truth,
        }
        for sample in samples
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path, row_group_size=8)


def write_webdataset(samples: list[Sample], path: Path) -> None:
    """One tar shard: an image and a JSON member per key; the same bytes for the same samples."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            truth = None if sample.truth is None else json.loads(sample.truth)
            row = {"question": sample.question, "answer": sample.answer, "truth": truth}
            _add(tar, f"{sample.key}.{sample.ending}", sample.data)
            _add(tar, f"{sample.key}.json", json.dumps(row).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _sample(index: int, picture: Picture) -> Sample:
    ending, image_format = _FORMATS[index % len(_FORMATS)]
    question, answer = CAPTION_PROMPTS[0], caption(picture)
    if index // 4 % 4:
        question, answer = _question(index, picture)
    return Sample(
        key=f"{index:06d}",
        ending=ending,
        data=_encode(picture, image_format),
        question=question,
        answer=answer,
        truth=truth_json(picture),
    )


def _question(index: int, picture: Picture) -> tuple[str, str]:
    """(question, answer) of one of the tasks that the picture offers."""
    rng = np.random.default_rng(picture.seed)
    asked = [task.ask(picture, rng) for task in TASKS.values() if task.picture == picture.kind]
    found = [(item.text, item.answer) for item in asked if item is not None]
    return found[index % len(found)]


def _encode(picture: Picture, image_format: str) -> bytes:
    file = io.BytesIO()
    # PNG takes no quality and ignores it.
    draw_picture(picture).image.save(file, image_format, quality=90)
    return file.getvalue()
