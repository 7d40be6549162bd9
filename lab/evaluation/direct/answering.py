"""Questions about images, answered under many reduction settings at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hired_core.backends.base import Backend
from hired_core.backends.slots.memory import SlotLayout
from hired_core.geometry.canvas import LayoutError
from hired_core.geometry.spec import ModelSpec
from hired_core.images.decode import ImageError
from hired_core.images.source import CutImage, content_seed, cut_image
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, Request
from hired_core.language.prompts import PromptError
from hired_core.vlm.language_half import RequestBuilder, VisualInput
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.vision_half import KeptTokens, VisionHalf
from hired_core.vlm.vlm import IMAGES_AT_ONCE
from lab.evaluation.direct.loaded import LoadedModel, Room, widest
from lab.evaluation.direct.shared_encoder import SharedProjector, forget, sharing_encoder
from lab.evaluation.direct.together import chunks, each_or_code
from lab.evaluation.results.answers import Answer
from lab.questions import BenchmarkImage

__all__ = ["CHUNK", "Answerer", "answer_directly", "cut_or_code"]

CHUNK: Final = 32
"""Images whose kept tokens, of all variants, are in memory at once."""

Answers = dict[str, list[list[Answer]]]
"""By label: for each image, one for each of its questions."""


@dataclass(frozen=True, kw_only=True)
class _Variant:
    """A way to reduce, ready to run."""

    settings: ReductionSettings
    vision: VisionHalf
    builder: RequestBuilder
    layout: SlotLayout


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A request, and whose answer it is to be."""

    label: str
    image: int
    question: int
    request: Request
    kept: KeptTokens


def answer_directly(
    settings: Mapping[str, ReductionSettings],
    images: Iterable[BenchmarkImage],
    model: LoadedModel | str = "embedded",
    *,
    generation: GenerationSettings | None = None,
    room: Room | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Answers:
    """What a job with each of the settings answers, by the settings' labels.

    Args:
        images: read `CHUNK` at a time.
        report: told how many images are done, after each chunk.

    Raises:
        CheckpointError, MemoryLimitError, ValueError: for a model or settings that cannot run.
    """
    loaded = LoadedModel.load(model) if isinstance(model, str) else model
    answerer = Answerer(loaded, settings, generation or GenerationSettings(), room or Room())
    found: Answers = {label: [] for label in settings}
    done = 0
    for chunk in chunks(images, CHUNK):
        for label, answers in answerer(chunk).items():
            found[label] += answers
        done += len(chunk)
        report(done)
    return found


class Answerer:
    """Answers chunks of images under all of its settings, or some.

    Variants without a method inside the language model share a backend; each other has its own,
    of which one is there at a time.
    """

    def __init__(
        self,
        model: LoadedModel,
        settings: Mapping[str, ReductionSettings],
        generation: GenerationSettings,
        room: Room,
    ) -> None:
        self._model, self._generation, self._room = model, generation, room
        resolved = (each.resolve() for each in settings.values())
        needs = [method.needs(options) for method, options in resolved]
        self._encoder = sharing_encoder(model.tower, needs)
        self._projector = SharedProjector(model.language.projector)
        self._variants = {label: self._variant(each) for label, each in settings.items()}
        self._layouts = self._group()
        self._backend: tuple[str, Backend] | None = None

    def _variant(self, settings: ReductionSettings) -> _Variant:
        model = self._model
        return _Variant(
            settings=settings,
            vision=model.vision(settings, self._encoder, self._projector),
            builder=RequestBuilder(spec=model.spec, template=model.template, settings=settings),
            layout=model.layout(settings, self._generation, self._room),
        )

    def _group(self) -> dict[str, SlotLayout]:
        """By the name of the backend that answers for a variant, its slots."""
        found: dict[str, list[SlotLayout]] = {}
        for label, variant in self._variants.items():
            found.setdefault(self._backend_of(label), []).append(variant.layout)
        return {name: widest(layouts) for name, layouts in found.items()}

    def _backend_of(self, label: str) -> str:
        return "" if self._variants[label].layout.schedule is None else label

    def __call__(
        self, images: Sequence[BenchmarkImage], labels: Collection[str] | None = None
    ) -> Answers:
        """The answers of the variants called `labels`, or of all."""
        chosen = [label for label in self._variants if labels is None or label in labels]
        kept = self._reduce(images, chosen)
        seeds = [self._seed(image.data) for image in images]
        found: Answers = {
            label: [[Answer(text=None)] * len(image.questions) for image in images]
            for label in chosen
        }
        asked: dict[str, list[_Asked]] = {}
        for label in chosen:
            rows = self._ask(label, images, kept[label], seeds, found[label])
            asked.setdefault(self._backend_of(label), []).extend(rows)
        for name, group in asked.items():
            self._answer(self._use(name), group, found)
        return found

    def _reduce(
        self, images: Sequence[BenchmarkImage], labels: Sequence[str]
    ) -> dict[str, list[KeptTokens | str]]:
        """What each variant keeps of each image, or the code of what went wrong."""
        found: dict[str, list[KeptTokens | str]] = {label: [] for label in labels}
        for part in chunks(images, IMAGES_AT_ONCE):
            cut = [cut_or_code(image.data, self._model.spec) for image in part]
            good = [each for each in cut if not isinstance(each, str)]
            for label in labels:
                half = self._variants[label].vision
                rows = iter(each_or_code(_encoding(half), good, "encoding_failed"))
                found[label] += [each if isinstance(each, str) else next(rows) for each in cut]
            forget(self._encoder)
            self._projector.forget()
        return found

    def _ask(
        self,
        label: str,
        images: Sequence[BenchmarkImage],
        kept: Sequence[KeptTokens | str],
        seeds: Sequence[int],
        answers: list[list[Answer]],
    ) -> Iterator[_Asked]:
        """Requests of a variant; where there can be none, the answer says why."""
        builder = self._variants[label].builder
        for at, (image, tokens) in enumerate(zip(images, kept, strict=True)):
            if isinstance(tokens, str):
                answers[at] = [Answer(text=None, error_code=tokens)] * len(image.questions)
                continue
            visual = builder.visual(tokens)
            for number, question in enumerate(image.questions):
                request = self._request(label, visual, question.text, seeds[at])
                if isinstance(request, str):
                    answers[at][number] = Answer(text=None, error_code=request)
                    continue
                yield _Asked(label=label, image=at, question=number, request=request, kept=tokens)

    def _request(self, label: str, visual: VisualInput, prompt: str, seed: int) -> Request | str:
        """Or the code of what is wrong with the prompt, as the job has it."""
        variant = self._variants[label]
        if not prompt.strip():
            return "prompt_missing"
        try:
            request = variant.builder.request(visual, prompt, from_data=True, seed=seed)
        except PromptError:
            return "prompt_invalid"
        length = request.num_prompt_tokens + self._generation.max_new_tokens
        layout = variant.layout
        fits = length <= layout.max_length and length + request.shift <= layout.rotary_length
        return request if fits else "prompt_too_long"

    def _seed(self, data: bytes) -> int:
        """Of the sampler, as in a job."""
        own = content_seed(hashlib.sha256(data).hexdigest())
        return (own ^ self._generation.seed) & (2**63 - 1)

    def _use(self, name: str) -> Backend:
        """The backend of that name, made anew if another was used last."""
        if self._backend is None or self._backend[0] != name:
            self._backend = None  # Before the next one takes its memory.
            layout = self._layouts[name]
            made = self._model.backend(layout, self._generation, self._room)
            self._backend = name, made
        return self._backend[1]

    def _answer(self, backend: Backend, asked: Sequence[_Asked], found: Answers) -> None:
        def generate(rows: Sequence[_Asked]) -> list[Completion]:
            return backend.generate([row.request for row in rows])

        for row, said in zip(
            asked, each_or_code(generate, asked, "generation_failed"), strict=True
        ):
            found[row.label][row.image][row.question] = self._told(row, said)

    def _told(self, row: _Asked, said: Completion | str) -> Answer:
        if isinstance(said, str):
            return Answer(text=None, error_code=said)
        if said.finish_reason == "timeout":
            return Answer(text=None, error_code="generation_timeout")
        most = self._variants[row.label].settings.num_after(self._model.spec.nominal_tokens)
        return Answer(
            text=said.text,
            visual_tokens_kept=min(row.kept.features.shape[0], most),
            visual_tokens_dense=row.kept.num_dense,
            prompt_tokens=row.request.num_prompt_tokens,
        )


def cut_or_code(data: bytes, spec: ModelSpec) -> CutImage | str:
    """Or the code of what is wrong with the image."""
    try:
        return cut_image(data, spec.geometry)
    except ImageError as exc:
        return exc.code
    except LayoutError:
        return "image_too_elongated"


def _encoding(half: VisionHalf) -> Callable[[Sequence[CutImage]], list[KeptTokens]]:
    def encode(images: Sequence[CutImage]) -> list[KeptTokens]:
        return half(
            [image.partitions for image in images],
            [image.size for image in images],
            [image.seed for image in images],
        )

    return encode
