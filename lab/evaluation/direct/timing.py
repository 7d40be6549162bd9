"""Images/s of each variant by itself, all measured in turns on the same images.

From cut images to texts: vision tower, reduction, language model; nothing is shared between
variants but the weights. Decoding and cutting, the same for all, are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TextIO

from hired_core.images.source import CutImage
from hired_core.language.generation import GenerationSettings
from hired_core.vlm.language_half import RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.direct.answering import cut_or_code
from lab.evaluation.direct.loaded import LoadedModel, Room
from lab.evaluation.direct.together import chunks
from lab.questions import BenchmarkImage

__all__ = ["ROUND", "Timed", "time_directly"]

ROUND: Final = 16
"""Images of a round: each variant answers about them before the next round begins."""

_Round = list[tuple[CutImage, Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What one variant took.

    Attributes:
        images, seconds: of each round.
    """

    images: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def images_per_sec(self) -> float:
        return sum(self.images) / sum(self.seconds)

    def to_json(self) -> dict[str, Any]:
        return {
            "images_per_sec": self.images_per_sec,
            "images": list(self.images),
            "seconds": list(self.seconds),
        }


def time_directly(
    settings: Mapping[str, ReductionSettings],
    images: Iterable[BenchmarkImage],
    model: LoadedModel,
    *,
    generation: GenerationSettings,
    room: Room,
    log: TextIO | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timed]:
    """By label: what all questions of all images that can be used take.

    Drift of the machine hits all variants alike: a round of images goes through every one of them
    before the next round begins, and each round begins with another. What only a first call takes
    (memory, graphs) is paid before the clock starts.
    """
    spent: dict[str, list[float]] = {label: [] for label in settings}
    sizes: list[int] = []
    for number, part in enumerate(chunks(_cut(images, model), ROUND)):
        labels = list(settings)
        turn = number * max(1, len(labels) // 3) % len(labels)
        for label in labels[turn:] + labels[:turn]:
            answer = _answering(settings[label], model, generation, room)
            answer(part[:1])
            began = clock()
            answer(part)
            spent[label].append(clock() - began)
        sizes.append(len(part))
        if log is not None:
            told = f"timed {len(labels)} variants on {sum(sizes)} images"
            print(told, file=log, flush=True)
    return {
        label: Timed(images=tuple(sizes), seconds=tuple(seconds))
        for label, seconds in spent.items()
        if seconds
    }


def _cut(
    images: Iterable[BenchmarkImage], model: LoadedModel
) -> Iterable[tuple[CutImage, Sequence[str]]]:
    for image in images:
        cut = cut_or_code(image.data, model.spec)
        if not isinstance(cut, str):
            yield cut, [question.text for question in image.questions]


def _answering(
    settings: ReductionSettings, model: LoadedModel, generation: GenerationSettings, room: Room
) -> Callable[[_Round], None]:
    """All of a job with these settings between cut images and texts; every call begins anew."""
    vision = model.vision(settings)
    backend = model.backend(model.layout(settings, generation, room), generation, room)
    builder = RequestBuilder(spec=model.spec, template=model.template, settings=settings)
    forget = getattr(backend, "forget", lambda: None)

    def answer(part: _Round) -> None:
        forget()
        kept = vision(
            [cut.partitions for cut, _ in part],
            [cut.size for cut, _ in part],
            [cut.seed for cut, _ in part],
        )
        pairs = zip(map(builder.visual, kept), part, strict=True)
        backend.generate(
            [
                builder.request(visual, prompt, from_data=True)
                for visual, (_, prompts) in pairs
                for prompt in prompts
            ]
        )

    return answer
