"""One model's weights, once, for any number of ways to reduce what it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from hired_core.backends.base import GIB, Backend, UnsupportedError
from hired_core.backends.registry import backend_kind, make_backend
from hired_core.backends.slots.memory import SlotLayout, layout_for
from hired_core.choices import BackendName, Quantization
from hired_core.geometry.spec import ModelSpec
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import LanguageModel
from hired_core.language.prompts import PromptTemplate
from hired_core.models.registry import family_of, load_spec
from hired_core.models.weights import check_quantization
from hired_core.vision.packed import Encoder, Tower, make_encoder
from hired_core.vlm.device import MAX_PROMPT_TOKENS, compute_dtype, device_bytes, max_slots
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.sizing import request_sizes
from hired_core.vlm.vision_half import VisionHalf
from hired_core.vlm.vlm import IMAGES_AT_ONCE
from lab.evaluation.where import default_device

__all__ = ["LoadedModel", "Room", "widest"]


@dataclass(frozen=True, kw_only=True)
class Room:
    """What generating may take.

    Attributes:
        text_positions: of the longest prompt around an image.
        memory_limit_gib, slots: as of `hired vqa`; None: what suits the device.
        batch_size: of a backend without slots.
    """

    text_positions: int = MAX_PROMPT_TOKENS
    memory_limit_gib: float | None = None
    slots: int | None = None
    backend: BackendName = "slots"
    batch_size: int = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedModel:
    """Both halves' weights on one device."""

    spec: ModelSpec
    template: PromptTemplate
    tower: Tower
    language: LanguageModel = field(repr=False)
    quantization: Quantization = field(default_factory=Quantization)

    @classmethod
    def load(
        cls,
        model: str = "embedded",
        revision: str | None = None,
        *,
        dtype: str = "auto",
        device: str | torch.device | None = None,
        image_options: Mapping[str, Any] | None = None,
        quantization: Quantization | None = None,
    ) -> LoadedModel:
        """A checkpoint by name, folder or Hugging Face id; on a GPU if there is one.

        Raises:
            CheckpointError: if it is missing or not supported.
            SettingError: for a quantisation that cannot be had.
        """
        eight = quantization or Quantization()
        check_quantization(eight)
        spec = load_spec(model, revision, image_options)
        where = default_device() if device is None else torch.device(device)
        number, family = compute_dtype(dtype, spec.stored_dtype, where), family_of(spec)
        return cls(
            spec=spec,
            template=family.load_prompt_template(spec),
            tower=family.load_vision(spec, device=where, dtype=number, quantized=eight.vision),
            language=family.load_language(
                spec, device=where, dtype=number, quantized=eight.decoder
            ),
            quantization=eight,
        )

    @property
    def device(self) -> torch.device:
        return self.language.device

    def vision(
        self,
        settings: ReductionSettings,
        encoder: Encoder | None = None,
        projector: nn.Module | None = None,
    ) -> VisionHalf:
        """The half with these settings, by default with nothing that others share."""
        encoder = encoder or make_encoder(self.tower)
        return VisionHalf(encoder, self.spec, settings, projector or self.language.projector)

    def layout(
        self, settings: ReductionSettings, generation: GenerationSettings, room: Room
    ) -> SlotLayout:
        """Of the slots that a job with these settings would have.

        Raises:
            UnsupportedError: if the room's backend cannot do what the settings ask, or answers
                through a job only.
            MemoryLimitError, ValueError: as `hired_core.vlm.sizing.slot_layout`.
        """
        limit, on_gpu = room.memory_limit_gib, self.device.type == "cuda"
        kind = backend_kind(room.backend)
        if not kind.runs_layers:
            raise UnsupportedError(f"{room.backend} answers through a job: add --runner job")
        sizes = request_sizes(
            self.spec,
            settings,
            text_positions=room.text_positions,
            max_new_tokens=generation.max_new_tokens,
            dtype=self.language.dtype,
            limit_bytes=device_bytes(self.device) if limit is None else int(limit * GIB),
            max_slots=room.slots or max_slots(on_gpu=on_gpu),
            on_gpu=on_gpu,
            images=IMAGES_AT_ONCE,
            quantization=self.quantization,
        )
        kind.check(sizes, generation)
        return layout_for(sizes, masked=generation.form is not None)

    def backend(self, layout: SlotLayout, generation: GenerationSettings, room: Room) -> Backend:
        """One that answers any request that fits the layout."""
        return make_backend(
            room.backend,
            self.language,
            generation,
            plan=layout,
            batch_size=room.batch_size,
        )


def widest(layouts: Sequence[SlotLayout]) -> SlotLayout:
    """The one of several without schedules whose slots hold the requests of all."""
    longest = max(layouts, key=lambda layout: layout.max_length)
    return replace(longest, rotary_length=max(layout.rotary_length for layout in layouts))
