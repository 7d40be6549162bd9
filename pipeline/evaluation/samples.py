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

from pipeline.evaluation.drawing import draw_scene
from pipeline.evaluation.scenes import CANVASES, Scene, best_canvas, content_size, make_scene
from pipeline.evaluation.texts import CAPTION_PROMPTS, caption, questions, truth_json

__all__ = [
    "SAMPLE_SEED",
    "Sample",
    "bad_samples",
    "is_padded",
    "make_samples",
    "write_parquet",
    "write_webdataset",
]

SAMPLE_SEED = 2_000_000_000
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", _IMAGE),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("scene", pa.string()),
    ]
)
# File endings as users have them, and the format behind each.
_FORMATS = (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("JPG", "JPEG"), ("jpg", "JPEG"))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One row: an image file, a question, its answer, and the scene's truth (None: a bad file)."""

    key: str
    ending: str
    data: bytes
    question: str
    answer: str
    scene: str | None


def make_samples(num_images: int) -> list[Sample]:
    """Samples in equal shares over the five grids, with and without padding by turns.

    Every fourth asks for a caption; the others go through the other questions.
    """
    wanted = [(canvas, padded) for padded in (False, True) for canvas in CANVASES]
    samples: list[Sample] = []
    seed = SAMPLE_SEED
    while len(samples) < num_images:
        scene = make_scene(seed)
        canvas, padded = wanted[len(samples) % len(wanted)]
        seed += 1
        if best_canvas(scene.width, scene.height) == canvas and is_padded(scene) == padded:
            samples.append(_sample(len(samples), scene))
    return samples


def is_padded(scene: Scene) -> bool:
    """True when the image leaves some of its canvas black."""
    canvas_h, canvas_w = best_canvas(scene.width, scene.height)
    return content_size(scene.width, scene.height) != (canvas_w, canvas_h)


def bad_samples(first_index: int) -> list[Sample]:
    """A truncated JPEG, an empty file and text under an image's name."""
    good = _encode(make_scene(SAMPLE_SEED - 1), "JPEG")
    contents = (good[: 2 * len(good) // 3], b"", b"this is no image\n")
    return [
        Sample(
            key=f"{first_index + i:06d}",
            ending="jpg",
            data=data,
            question=CAPTION_PROMPTS[0],
            answer="",
            scene=None,
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
            "scene": sample.scene,
        }
        for sample in samples
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), path, row_group_size=8)


def write_webdataset(samples: list[Sample], path: Path) -> None:
    """One tar shard: an image and a JSON member per key; the same bytes for the same samples."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            scene = None if sample.scene is None else json.loads(sample.scene)
            truth = {"question": sample.question, "answer": sample.answer, "scene": scene}
            _add(tar, f"{sample.key}.{sample.ending}", sample.data)
            _add(tar, f"{sample.key}.json", json.dumps(truth).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _sample(index: int, scene: Scene) -> Sample:
    ending, image_format = _FORMATS[index % len(_FORMATS)]
    question, answer = CAPTION_PROMPTS[0], caption(scene)
    if index // 4 % 4:
        asked = questions(scene, np.random.default_rng(scene.seed))
        choice = asked[index % len(asked)]
        question, answer = choice.text, choice.answer
    return Sample(
        key=f"{index:06d}",
        ending=ending,
        data=_encode(scene, image_format),
        question=question,
        answer=answer,
        scene=truth_json(scene),
    )


def _encode(scene: Scene, image_format: str) -> bytes:
    file = io.BytesIO()
    # PNG takes no quality and ignores it.
    draw_scene(scene).save(file, image_format, quality=90)
    return file.getvalue()
