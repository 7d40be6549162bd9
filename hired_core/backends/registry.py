"""Backends by the names that the command line knows them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hired_core.backends.base import Backend, Capacity
from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.slots.memory import SlotLayout
from hired_core.choices import BackendName
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, LanguageModel, Request
from hired_core.methods.schedule import KeepSchedule

BATCH_SIZE: Final = 8
"""Of the reference backend."""


def make_backend(
    name: BackendName,
    model: LanguageModel,
    settings: GenerationSettings,
    *,
    layout: SlotLayout | None,
    schedule: KeepSchedule | None = None,
    queue: DeviceQueue | None = None,
    batch_size: int = BATCH_SIZE,
) -> Backend:
    """A backend that takes its turns in `queue`.

    Args:
        layout: of the slots, its schedule among it; None for a backend without slots.
        schedule: for one without slots.
        batch_size: of one that generates in batches.

    Raises:
        UnsupportedDecoderError: if the backend cannot run this decoder.
        UnsupportedScheduleError: if the backend cannot drop rows between layers.
    """
    queue = queue or DeviceQueue()
    if name == "slots":
        from hired_core.backends.slots.backend import SlotBackend

        assert layout is not None, "slots have a layout"
        return SlotBackend(model, settings, layout, queue=queue)
    # transformers is loaded where it generates.
    from hired_core.backends.reference import ReferenceBackend

    backend = ReferenceBackend(model, settings, batch_size=batch_size, schedule=schedule)
    return InTurn(backend, queue)


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
