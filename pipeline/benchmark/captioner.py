"""This engine at one token budget, on `hired_core` alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hired_core.decode import decode_image
from hired_core.encode import ImageEncoder, SelectionSettings
from hired_core.engine.reference import ReferenceBackend
from hired_core.language import Backend, Completion, GenerationSettings, Request
from hired_core.partition import partition_image
from hired_core.sequence import NewlinePolicy, visual_sequence
from hired_core.vision import VisionEncoder
from pipeline.benchmark.answers import Answer, now
from pipeline.benchmark.subject import Subject

_OWN_CHOICE = 8
Pixels = npt.NDArray[np.uint8]


class Captioner:
    """Windows of images through the vision stage, then through the language model.

    A window bounds what waits between the two. With a `batch_size` it holds as many images, and
    the engine has as many slots; without one the choice is the engine's own.
    """

    def __init__(self, subject: Subject, *, budget: float, batch_size: int | None = None) -> None:
        self._subject = subject
        self._policy: NewlinePolicy = "all" if budget == 1 else "none"
        self._selection = SelectionSettings(token_budget=budget)
        self._batch_size = batch_size
        self._prompt = subject.template.token_ids(subject.setting.prompt)
        self._encoder: ImageEncoder
        self._backend: Backend
        self._window: int

    def open(self) -> None:
        vision = VisionEncoder(self._subject.vision)
        self._encoder = ImageEncoder(vision, self._subject.spec, self._selection)
        self._backend, self._window = make_backend(self._subject, self._batch_size)

    def close(self) -> None:
        del self._backend, self._encoder

    def __call__(self, images: Sequence[bytes]) -> list[Answer]:
        step = self._window
        windows = [images[i : i + step] for i in range(0, len(images), step)]
        return [answer for window in windows for answer in self._answer(window)]

    def _answer(self, window: Sequence[bytes]) -> list[Answer]:
        device, spec = self._subject.device, self._subject.spec
        started = now(device)
        images = [decode_image(data) for data in window]
        cut = [
            partition_image(image, pinpoints=spec.pinpoints, partition_size=spec.partition_size)
            for image in images
        ]
        prepared = now(device)
        requests = self._requests(cut, [(image.height, image.width) for image in images])
        encoded = now(device)
        completions = self._backend.generate(requests)
        timing, share = self._backend.timing, 1 / len(window)
        return [
            Answer(
                token_ids=completion.token_ids,
                text=completion.text,
                ttft_sec=encoded - started + _ttft(completion, timing.ttft_sec),
                prepare_sec=share * (prepared - started),
                vision_sec=share * (encoded - prepared),
                prefill_sec=share * timing.prefill_sec,
                decode_sec=share * timing.decode_sec,
            )
            for completion in completions
        ]

    def _requests(self, cut: Sequence[Pixels], sizes: list[tuple[int, int]]) -> list[Request]:
        spec, (before, after) = self._subject.spec, self._prompt
        kept = self._encoder(cut, sizes, [0] * len(cut))
        return [
            Request(
                features=tokens.features,
                sequence=visual_sequence(tokens.order, spec.layout(*size), self._policy),
                before=before,
                after=after,
            )
            for tokens, size in zip(kept, sizes, strict=True)
        ]


def make_backend(subject: Subject, batch_size: int | None) -> tuple[Backend, int]:
    """The engine, and how many images to hand it at once."""
    slots = batch_size or _OWN_CHOICE
    settings = GenerationSettings(max_new_tokens=subject.setting.max_new_tokens)
    return ReferenceBackend(subject.language, settings, batch_size=slots), slots


def _ttft(completion: Completion, of_batch: float) -> float:
    """Its own if the backend notes it; else its batch's, which is the window."""
    return float(getattr(completion, "ttft_sec", of_batch))
