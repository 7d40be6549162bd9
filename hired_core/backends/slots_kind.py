"""`slots` as a backend among others: what it plans, and how it is made."""

from __future__ import annotations

from typing import Final

from hired_core.backends.base import Backend, BackendKind, Sizes, require_plain_weights
from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.slots.memory import SlotLayout, layout_for
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import LanguageModel


class Slots:
    """Bounds its memory, runs the layers itself; what it cannot run shows when it is made."""

    runs_layers = True

    def check(self, sizes: Sizes, generation: GenerationSettings) -> None:
        require_plain_weights("slots", sizes)

    def plan(self, sizes: Sizes, generation: GenerationSettings) -> SlotLayout:
        """As many slots as the limit has room for.

        Raises:
            MemoryLimitError: if that is none.
            ValueError: if the decoder has too few layers for the schedule.
        """
        return layout_for(sizes, masked=generation.form is not None)

    def make(
        self,
        model: LanguageModel,
        generation: GenerationSettings,
        plan: SlotLayout,
        *,
        queue: DeviceQueue,
        batch_size: int,
    ) -> Backend:
        """Batches play no part: slots are refilled one by one."""
        from hired_core.backends.slots.backend import SlotBackend

        return SlotBackend(model, generation, plan, queue=queue)


BACKEND: Final[BackendKind] = Slots()
