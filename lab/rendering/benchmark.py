"""Benchmark images: one rendered picture and one question each."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from lab.questions import BenchmarkImage, Question
from lab.rendering.compose import make_picture
from lab.rendering.drawing import draw_picture
from lab.rendering.geometry import best_canvas, content_size
from lab.rendering.picture import Picture
from lab.rendering.splits import SPLITS
from lab.rendering.tasks import TASKS, Asked

__all__ = ["encode_jpeg", "is_elongated", "is_padded", "render", "shape_details"]

# Room for the seeds of one seed number in a split: no two seed numbers share a picture.
_SEEDS_PER_RUN = 1_000_000


def render(
    split: str, num_samples: int, seed: int = 0, tasks: Sequence[str] = tuple(TASKS)
) -> Iterator[BenchmarkImage]:
    """`num_samples` images, the tasks by turns, each with one question; drawn when asked for.

    Raises:
        ValueError: There is no such split or task.
    """
    _require([split], SPLITS)
    _require(tasks, TASKS)
    if not 0 <= seed < 900:
        raise ValueError(f"seed must be in 0..899, got {seed}: a split has room for so many")
    return _images(split, num_samples, seed, tasks)


def _require(names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"no {name!r} in the rendered benchmark; there are {', '.join(known)}")


def _images(
    split: str, num_samples: int, seed: int, tasks: Sequence[str]
) -> Iterator[BenchmarkImage]:
    at = SPLITS[split].first_seed + seed * _SEEDS_PER_RUN
    for index in range(num_samples):
        task = TASKS[tasks[index % len(tasks)]]
        picture, asked, at = _next(task.name, split, at)
        image_id = f"{split}-{picture.seed}"
        details = {"kind": asked.kind, **shape_details(picture), **asked.details}
        question = Question(
            question_id=f"{image_id}-{task.name}",
            task=task.name,
            text=asked.text,
            answers=(asked.answer,),
            details=details,
        )
        yield BenchmarkImage(image_id=image_id, data=encode_jpeg(picture), questions=(question,))


def _next(task: str, split: str, seed: int) -> tuple[Picture, Asked, int]:
    """The first picture from `seed` on that offers a question, and the seed after it."""
    while True:
        picture = make_picture(TASKS[task].picture, split, seed)
        asked = TASKS[task].ask(picture, np.random.default_rng((picture.seed, 202)))
        seed += 1
        if asked is not None:
            return picture, asked, seed


def encode_jpeg(picture: Picture) -> bytes:
    """The picture as a JPEG file."""
    file = io.BytesIO()
    draw_picture(picture).image.save(file, "JPEG", quality=92)
    return file.getvalue()


def shape_details(picture: Picture) -> dict[str, str]:
    """The shape of an image as ablations group by it."""
    canvas_h, canvas_w = best_canvas(picture.width, picture.height)
    return {
        "grid": f"{canvas_h}x{canvas_w}",
        "padded": "yes" if is_padded(picture) else "no",
        "elongated": "yes" if is_elongated(picture) else "no",
    }


def is_padded(picture: Picture) -> bool:
    """True when the image leaves some of its canvas black."""
    canvas_h, canvas_w = best_canvas(picture.width, picture.height)
    return content_size(picture.width, picture.height) != (canvas_w, canvas_h)


def is_elongated(picture: Picture) -> bool:
    """True when its canvas has three sub-images in a row or a column."""
    canvas = best_canvas(picture.width, picture.height)
    return max(canvas) == 3 * min(canvas)
