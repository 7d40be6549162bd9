"""`reference` as a backend among others: it plans nothing, and takes its turns on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hired_core.backends.base import (
    Backend,
    BackendKind,
    BackendPlan,
    Capacity,
    Sizes,
    UnsupportedScheduleError,
    require_plain_weights,
)
from hired_core.backends.device_queue import DeviceQueue
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, LanguageModel, Request


@dataclass(frozen=True, kw_only=True)
class Unbounded:
    """What is known of a backend that sets nothing aside: how long its requests may be."""

    max_length: int
    limit_bytes: None = None
    kv_bytes: None = None

    @property
    def capacity(self) -> Capacity:
        return Capacity(
            num_slots=None,
            total_bytes=None,
            max_length=self.max_length,
            rotary_length=self.max_length,
        )

    def describe(self) -> str:
        return "not bounded: --backend reference"


class Reference:
    """transformers' own `generate`, which runs any decoder."""

    runs_layers = True

    def check(self, sizes: Sizes, generation: GenerationSettings) -> None:
        require_plain_weights("reference", sizes)
        if sizes.schedule is not None:
            raise UnsupportedScheduleError(
                "reference cannot drop tokens between layers, as methods inside the language model "
                "do; leave it out"
            )

    def plan(self, sizes: Sizes, generation: GenerationSettings) -> BackendPlan:
        return Unbounded(max_length=sizes.spec.max_context)

    def make(
        self,
        model: LanguageModel,
        generation: GenerationSettings,
        plan: BackendPlan,
        *,
        queue: DeviceQueue,
        batch_size: int,
    ) -> Backend:
        # transformers is loaded where it generates.
        from hired_core.backends.reference import ReferenceBackend

        return InTurn(ReferenceBackend(model, generation, batch_size=batch_size), queue)


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


BACKEND: Final[BackendKind] = Reference()
