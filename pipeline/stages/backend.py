"""Which backend generates, and in how much memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hired_core.backends.base import Backend, Capacity, UnsupportedDecoderError
from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.reference import ReferenceBackend
from hired_core.backends.slots.backend import SlotBackend
from hired_core.backends.slots.memory import SlotLayout
from hired_core.language.model import (
    Completion,
    LanguageModel,
    Request,
)
from pipeline.resources.memory import actor_bytes, engine_plan
from pipeline.rows.errors import ModelError
from pipeline.settings.config import JobConfig
from pipeline.stages.context import StageContext


class InTurn:
    """A backend that computes on a device it shares, one call at a time."""

    def __init__(self, backend: Backend, queue: DeviceQueue) -> None:
        self._backend = backend
        self._queue = queue

    @property
    def capacity(self) -> Capacity:
        return self._backend.capacity

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return self._queue.run(lambda: self._backend.generate(requests))


def make_backend(
    language: LanguageModel, config: JobConfig, context: StageContext, queue: DeviceQueue
) -> tuple[Backend, SlotLayout | None]:
    """The backend that the configuration names; a plan if it has slots.

    Raises:
        ConfigError: if the memory limit leaves no room for a single slot.
        ModelError: if the engine cannot run this decoder.
    """
    settings = config.generation
    if config.run.backend == "reference":
        size = config.run.batch_size
        return InTurn(ReferenceBackend(language, settings, batch_size=size), queue), None
    plan = _plan(language, config, context)
    try:
        return SlotBackend(language, settings, plan, queue=queue), plan
    except UnsupportedDecoderError as exc:
        raise ModelError(f"model: {exc}; --backend reference can run it") from exc


def _plan(language: LanguageModel, config: JobConfig, context: StageContext) -> SlotLayout:
    device: torch.device = language.device
    return engine_plan(
        config,
        language.spec,
        dtype=language.dtype,
        device_bytes=actor_bytes(device, gpus=context.gpus, threads=context.threads),
        on_gpu=device.type == "cuda",
        fused=context.fused,
    )
