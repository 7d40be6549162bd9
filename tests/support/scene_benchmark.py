"""A small benchmark of scenes: real images, real questions, for tests of the evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from lab.evaluation.benchmarks import Benchmark
from lab.evaluation.options import EvaluationConfig
from lab.questions import BenchmarkImage, Question
from lab.rendering.benchmark import encode_jpeg
from lab.rendering.compose import make_picture
from lab.rendering.splits import SPLITS
from lab.rendering.tasks import TASKS as RENDERED

TASKS = ("attribute", "existence", "count", "scene_text")
# Beyond the seeds that `render` uses.
_FIRST_SEED = SPLITS["test"].first_seed + 950_000_000


def scenes(num_images: int, seed: int) -> Iterator[BenchmarkImage]:
    """Every kind of question about each of `num_images` scenes."""
    for number in range(num_images):
        picture = make_picture("scene", "test", _FIRST_SEED + 10_000 * seed + number)
        rng = np.random.default_rng(picture.seed)
        asked = {task: RENDERED[task].ask(picture, rng) for task in TASKS}
        yield BenchmarkImage(
            image_id=f"scene-{number:03d}",
            data=encode_jpeg(picture),
            questions=tuple(
                Question(
                    question_id=f"scene-{number:03d}-{task}",
                    task=task,
                    text=item.text,
                    answers=(item.answer,),
                    details={"kind": item.kind},
                )
                for task, item in asked.items()
                if item is not None
            ),
        )


def scene_benchmark(
    config: EvaluationConfig, *, broken: Sequence[int] = (), num_images: int = 24
) -> Benchmark:
    """As `choose` would give it; the images at `broken` are cut short."""
    tasks = config.tasks_of(TASKS, "scenes")
    wanted = config.num_samples or num_images

    def images() -> Iterator[BenchmarkImage]:
        for index, image in enumerate(scenes(wanted, config.seed)):
            data = image.data[: len(image.data) // 2] if index in broken else image.data
            asked = tuple(question for question in image.questions if question.task in tasks)
            if asked:
                yield replace(image, data=data, questions=asked)

    setting = {
        "benchmark": "scenes",
        "tasks": list(tasks),
        "num_samples": wanted,
        "seed": config.seed,
    }
    return Benchmark(name="scenes", tasks=tasks, setting=setting, images=images)
