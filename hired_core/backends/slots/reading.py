"""Reading a prompt into a slot: what another slot holds of it is copied, the rest goes through."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hired_core.backends.slots.decoder import SlotDecoder
from hired_core.backends.slots.tickets import Slot, shared_positions
from hired_core.geometry.sequence import NEWLINE
from hired_core.language.model import LanguageModel, Request
from hired_core.methods.schedule import KeepSchedule
from hired_core.transfer import upload


class PromptReader:
    """Reads prompts into the decoder's caches.

    With a schedule, prompts share the text before the image alone: what is dropped of the image
    depends on the text after it, and with that what later layers hold.
    """

    def __init__(
        self, model: LanguageModel, decoder: SlotDecoder, schedule: KeepSchedule | None
    ) -> None:
        self.decoder = decoder
        self._model = model
        self._schedule = schedule

    def lengths(self, request: Request) -> tuple[int, ...]:
        """Positions that its prompt takes in each cache."""
        prompt = request.num_prompt_tokens
        if self._schedule is None:
            return (prompt,)
        num_visual = int((request.sequence != NEWLINE).sum())
        return tuple(prompt - count for count in self._schedule.dropped(num_visual))

    def held(self, slot: Slot, request: Request) -> int:
        """How many first positions of the prompt the slot's cells are good for."""
        text_only = self._schedule is not None
        return shared_positions(slot.resident, request, text_only=text_only)

    def read(self, slot: Slot, slots: Sequence[Slot], request: Request) -> Tensor:
        """float [V], the logits after the prompt. The slot's resident is left for the caller."""
        source = max(slots, key=lambda other: self.held(other, request))
        start = self.held(slot, request)
        slot.resident = None  # Until all has been read.
        slot.lengths = self.lengths(request)
        if self.held(source, request) > start:
            start = self.held(source, request)
            for cache in self.decoder.caches:
                cache.copy_prefix(source.index, slot.index, start)
        embeds = self._model.embed(request, start)
        rotary, visual = self._rotary(request, start), self._visual(request, start)
        num_text = len(request.after)
        logits = self.decoder.prefill(embeds, slot.index, start, rotary, visual, num_text)
        for cache, length in zip(self.decoder.caches, slot.lengths, strict=True):
            cache.clear_from(slot.index, length)
        return logits

    def _rotary(self, request: Request, start: int) -> Tensor | None:
        if request.places is None:
            return None
        return upload(request.positions()[start:], self._model.device)

    def _visual(self, request: Request, start: int) -> Tensor | None:
        """Which rows from `start` on are visual tokens, if any of them may be dropped."""
        if self._schedule is None:
            return None
        places = (request.sequence != NEWLINE).nonzero()[:, 0]
        return upload(len(request.before) - start + places, self._model.device)
