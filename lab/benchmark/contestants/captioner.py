"""This engine at one token budget, on `hired_core` alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from hired_core.backends.slots.backend import SlotBackend
from hired_core.backends.slots.memory import SlotLayout
from hired_core.images.decode import decode_image
from hired_core.images.partition import partition_image
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from hired_core.vision.packed import make_encoder
from hired_core.vlm.device import MAX_SLOTS_CPU, MAX_SLOTS_GPU
from hired_core.vlm.language_half import RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.sizing import slot_layout
from hired_core.vlm.vision_half import VisionHalf
from lab.benchmark.contestants.answers import Answer, now
from lab.benchmark.contestants.subject import Subject

IMAGES_AT_ONCE = 8
"""In a call of the vision stage."""

Pixels = npt.NDArray[np.uint8]


class Captioner:
    """Windows of images through the vision stage, then through the language model.

    A window bounds what waits between the two, and is what the engine is given at once. With a
    `batch_size` it holds as many images and the engine has as many slots; without one, the engine
    has the slots that memory allows and a window fills them twice over.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        budget: float,
        method: str = "hired",
        batch_size: int | None = None,
        max_slots: int | None = None,
    ) -> None:
        self._subject = subject
        self._settings = ReductionSettings(method=method, budget=budget)
        self._builder = RequestBuilder(
            spec=subject.spec, template=subject.template, settings=self._settings
        )
        self._batch_size = batch_size
        self._max_slots = batch_size or max_slots
        self._encoder: VisionHalf
        self._backend: SlotBackend
        self._window: int
        self.layout: SlotLayout
        self.slots: int

    def open(self) -> None:
        self._encoder = VisionHalf(
            make_encoder(self._subject.vision),
            self._subject.spec,
            self._settings,
            self._subject.language.projector,
        )
        self._backend = make_backend(self._subject, self._settings, self._max_slots)
        self.layout = self._backend.layout
        self.slots = self.layout.num_slots
        self._window = self._batch_size or 2 * self.slots

    def close(self) -> None:
        del self._backend, self._encoder

    def __call__(self, images: Sequence[bytes]) -> list[Answer]:
        self._backend.forget()
        step = self._window
        windows = [images[i : i + step] for i in range(0, len(images), step)]
        return [answer for window in windows for answer in self._answer(window)]

    def _answer(self, window: Sequence[bytes]) -> list[Answer]:
        device, share = self._subject.device, 1 / len(window)
        started, prepared, requests = now(device), 0.0, []
        for at in range(0, len(window), IMAGES_AT_ONCE):
            begun = now(device)
            images, cut = self._prepared(window[at : at + IMAGES_AT_ONCE])
            prepared += now(device) - begun
            requests += self._requests(cut, [(image.height, image.width) for image in images])
        encoded = now(device)
        completions = self._backend.generate(requests)
        return [
            Answer(
                token_ids=completion.token_ids,
                text=completion.text,
                ttft_sec=encoded - started + completion.ttft_sec,
                prepare_sec=share * prepared,
                vision_sec=share * (encoded - started - prepared),
                prefill_sec=completion.prefill_sec,
                decode_sec=completion.decode_sec,
            )
            for completion in completions
        ]

    def _prepared(self, files: Sequence[bytes]) -> tuple[list[Image.Image], list[Pixels]]:
        """On a GPU machine in threads, or the device would wait for one core."""
        if self._subject.device.type != "cuda":
            images = [decode_image(data) for data in files]
            return images, [self._cut(image) for image in images]
        with ThreadPoolExecutor(IMAGES_AT_ONCE) as threads:
            images = list(threads.map(decode_image, files))
            return images, list(threads.map(self._cut, images))

    def _cut(self, image: Image.Image) -> Pixels:
        return partition_image(image, self._subject.spec.geometry)

    def _requests(self, cut: Sequence[Pixels], sizes: Sequence[tuple[int, int]]) -> list[Request]:
        builder, prompt = self._builder, self._subject.setting.prompt
        kept = self._encoder(cut, sizes, [0] * len(cut))
        return [builder.request(builder.visual(tokens), prompt) for tokens in kept]


def make_backend(
    subject: Subject, settings: ReductionSettings, max_slots: int | None
) -> SlotBackend:
    """The engine, with as many slots as the device's memory has room for, up to a number."""
    on_gpu, new = subject.device.type == "cuda", subject.setting.max_new_tokens
    before, after = subject.template.token_ids(subject.setting.prompt)
    layout = slot_layout(
        subject.spec,
        settings,
        text_positions=len(before) + len(after),
        max_new_tokens=new,
        dtype=subject.dtype,
        limit_bytes=subject.memory_bytes(),
        max_slots=max_slots or (MAX_SLOTS_GPU if on_gpu else MAX_SLOTS_CPU),
        on_gpu=on_gpu,
        images=IMAGES_AT_ONCE,
        quantization=subject.setting.quantization,
    )
    return SlotBackend(subject.language, GenerationSettings(max_new_tokens=new), layout)
