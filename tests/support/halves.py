"""Both halves of a checkpoint put together, and the same checkpoint run by transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from hired_core.backends.reference import ReferenceBackend
from hired_core.backends.slots.backend import SlotBackend
from hired_core.backends.slots.memory import SlotLayout
from hired_core.geometry.sequence import NewlinePolicy, Positions
from hired_core.images.partition import partition_image
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, LanguageModel, Request
from hired_core.vision.packed import make_encoder
from hired_core.vlm.language_half import RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.vision_half import KeptTokens, VisionHalf
from tests.support.models import (
    load_language,
    load_prompt_template,
    load_spec,
    load_vision,
)

CPU = torch.device("cpu")


class Halves:
    """The vision and the language half of one checkpoint, in float32."""

    def __init__(self, model: str | Path, device: torch.device = CPU, **image_options: Any) -> None:
        self.spec = load_spec(str(model), image_options=image_options)
        self.vision: Any = make_encoder(load_vision(self.spec, device=device, dtype=torch.float32))
        self.language = load_language(self.spec, device=device, dtype=torch.float32)
        self.template = load_prompt_template(self.spec)

    def vision_half(self, settings: ReductionSettings) -> VisionHalf:
        return VisionHalf(self.vision, self.spec, settings, self.language.projector)

    def encode(
        self, images: Sequence[Image.Image], settings: ReductionSettings
    ) -> list[KeptTokens]:
        """Seeds are functions of the image's size, so that they do not depend on the batch."""
        partitions = [partition_image(image, self.spec.geometry) for image in images]
        sizes = [(image.height, image.width) for image in images]
        seeds = [image.height * 10007 + image.width for image in images]
        return self.vision_half(settings)(partitions, sizes, seeds)

    def requests(
        self,
        images: Sequence[Image.Image],
        prompts: Sequence[str],
        settings: ReductionSettings,
        policy: NewlinePolicy,
        positions: Positions = "compact",
    ) -> list[Request]:
        chosen = replace(settings, newline=policy, positions=positions)
        builder = RequestBuilder(spec=self.spec, template=self.template, settings=chosen)
        kept = self.encode(images, settings)
        return [
            builder.request(builder.visual(each), prompt)
            for each, prompt in zip(kept, prompts, strict=True)
        ]

    def generate(
        self, requests: Sequence[Request], *, max_new_tokens: int, batch_size: int = 8
    ) -> list[Completion]:
        """By both backends, which agree; `batch_size` is the reference's."""
        settings = GenerationSettings(max_new_tokens=max_new_tokens)
        reference = ReferenceBackend(self.language, settings, batch_size=batch_size)
        found = reference.generate(requests)
        assert slot_backend(self.language, requests, settings).generate(requests) == found
        return found


def slot_backend(
    model: LanguageModel,
    requests: Sequence[Request],
    settings: GenerationSettings,
    *,
    num_slots: int = 3,
    chunk: int = 4096,
) -> SlotBackend:
    """Its slots are exactly as long as the longest of the requests needs."""
    longest = max(request.num_prompt_tokens for request in requests)
    furthest = max(request.num_positions for request in requests)
    new = settings.max_new_tokens
    layout = slot_layout(num_slots, longest + new, chunk, rotary_length=furthest + new)
    return SlotBackend(model, settings, layout)


def slot_layout(
    num_slots: int,
    max_length: int,
    chunk: int = 4096,
    rotary_length: int | None = None,
    **dropping: Any,
) -> SlotLayout:
    """As many slots as a test wants; bytes play no part."""
    return SlotLayout(
        num_slots=num_slots,
        max_length=max_length,
        chunk=chunk,
        weight_bytes=0,
        slot_bytes=0,
        workspace_bytes=0,
        limit_bytes=0,
        rotary_length=rotary_length or max_length,
        **dropping,
    )


class Original:
    """The unmodified model and its own processor.

    Args:
        processor: where transformers cannot load it by itself.
    """

    def __init__(self, folder: Path, processor: Any = None) -> None:
        self.model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.processor: Any = processor or AutoProcessor.from_pretrained(folder)
        stop = self.model.generation_config.eos_token_id
        self.stop_ids = set(stop if isinstance(stop, list) else [stop])

    @torch.inference_mode()
    def generate(
        self, images: Sequence[Image.Image], texts: Sequence[str], max_new_tokens: int
    ) -> tuple[list[list[int]], list[int]]:
        """(new token ids before the stop token, prompt lengths) of one left-padded batch."""
        inputs = self.processor(
            images=list(images), text=list(texts), padding=True, return_tensors="pt"
        )
        output = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        new = output[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._cut(row) for row in new], inputs["attention_mask"].sum(1).tolist()

    def _cut(self, ids: list[int]) -> list[int]:
        stop = next((at for at, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return ids[:stop]


def picture(height: int, width: int) -> Image.Image:
    """Coloured waves and noise, a function of the size alone."""
    rng = np.random.default_rng(height * 10007 + width)
    y, x = np.mgrid[0:height, 0:width]
    phase = rng.uniform(0, 6, 3)
    waves = np.stack([np.sin((i + 1) * x / 29 + y / 17 + phase[i]) for i in range(3)], -1)
    noise = rng.uniform(-0.6, 0.6, (height, width, 3))
    return Image.fromarray(np.clip((waves + noise) * 90 + 128, 0, 255).astype(np.uint8))
