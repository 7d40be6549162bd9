"""A small benchmark of scenes: real images, real questions, for tests of the evaluation."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pipeline.evaluation.benchmarks import Benchmark
from pipeline.evaluation.drawing import draw_scene
from pipeline.evaluation.options import EvaluationConfig
from pipeline.evaluation.questions import BenchmarkImage, Question
from pipeline.evaluation.scenes import make_scene
from pipeline.evaluation.texts import questions

TASKS = ("attribute", "existence", "count", "scene_text")
_TASK_OF = {
    "colour": "attribute",
    "shape": "attribute",
    "presence": "existence",
    "count": "count",
    "sign": "scene_text",
}


def scenes(num_images: int, seed: int) -> Iterator[BenchmarkImage]:
    """Every kind of question about each of `num_images` scenes."""
    for number in range(num_images):
        scene = make_scene(10_000 * (seed + 1) + number)
        file = io.BytesIO()
        draw_scene(scene).save(file, "JPEG", quality=90)
        asked = questions(scene, np.random.default_rng(scene.seed))
        yield BenchmarkImage(
            image_id=f"scene-{number:03d}",
            data=file.getvalue(),
            questions=tuple(
                Question(
                    question_id=f"scene-{number:03d}-{item.kind}",
                    task=_TASK_OF[item.kind],
                    text=item.text,
                    answers=(item.answer,),
                    details={"kind": item.kind},
                )
                for item in asked
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
