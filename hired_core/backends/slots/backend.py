"""The engine: requests of any mix run in a fixed number of slots, refilled as they end.

A step either reads the prompt of one waiting request into a free slot, or generates one token for
every busy slot in one call; reading comes first, since a step over few slots costs nearly what a
step over all does. Tokens and stop flags stay on the device and are looked at every few steps.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch

from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.slots.decoder import SlotDecoder
from hired_core.backends.slots.graphs import make_step
from hired_core.backends.slots.memory import SlotLayout, trim_memory
from hired_core.backends.slots.sampling import SlotState
from hired_core.backends.slots.tickets import Slot, Ticket, shared_positions
from hired_core.language.model import Completion, GenerationSettings, LanguageModel, Request
from hired_core.transfer import upload

POLL_EVERY_ON_GPU: Final = 8
CALM: Final = 8
"""Requests that must end in each admitted slot before admission grows again."""


class SlotBackend:
    """Generates in `layout.num_slots` slots; safe to call from several threads at once.

    Whatever the engine keeps is touched by the thread of `queue` alone.

    Calls share the slots: one that a call's request leaves is taken by the next request of any
    call. Prompts that begin alike share what is read: cells of the text before the image are kept
    from request to request, and requests with the same features (the same tensor object) read their
    image once.

    When the device runs out of memory, half as many slots are filled; a request that does not even
    run alone fails.

    Args:
        queue: shared with what else computes on the device; one of its own by default.
        clock: in seconds.
    """

    def __init__(
        self,
        model: LanguageModel,
        settings: GenerationSettings,
        layout: SlotLayout,
        *,
        queue: DeviceQueue | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.model = model
        self.settings = settings
        self.layout = layout
        self._queue = queue or DeviceQueue()
        self._clock = clock
        self._decoder = SlotDecoder(
            model.decoder,
            num_slots=layout.num_slots,
            max_length=layout.max_length,
            rotary_length=layout.rotary_length,
            chunk=layout.chunk,
        )
        self._state = SlotState(
            num_slots=layout.num_slots,
            settings=settings,
            stop_ids=model.stop_ids,
            device=model.device,
        )
        self._step = make_step(self._decoder, self._state)
        trim_memory()  # Loading weights leaves as much behind as they take.
        self._poll_every = POLL_EVERY_ON_GPU if model.device.type == "cuda" else 1
        self._slots = [Slot(index) for index in range(layout.num_slots)]
        self._waiting: deque[Ticket] = deque()
        self._admitted = layout.num_slots
        self._ended_since_full = 0
        self._steps_since_look = 0
        self._looked_at = 0.0

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in order; returns when the last of them has ended.

        Raises:
            ValueError: if a request does not fit a slot.
            RuntimeError: what the device raised for one of the requests, too little memory for it
                alone included.
        """
        for request in requests:
            self._check(request)
        now = self._clock()
        tickets = [Ticket(request=request, submitted=now) for request in requests]
        self._queue.run(lambda: self._waiting.extend(tickets))
        while any(ticket.outcome is None for ticket in tickets):
            self._queue.run(self._advance)
        return [ticket.completion() for ticket in tickets]

    def forget(self) -> None:
        """Drops what is kept of earlier prompts; for measuring."""
        for slot in self._slots:
            if slot.ticket is None:
                slot.resident = None

    def _check(self, request: Request) -> None:
        needed = request.num_prompt_tokens + self.settings.max_new_tokens
        if needed > self.layout.max_length:
            raise ValueError(f"{needed} positions needed, a slot has {self.layout.max_length}")
        needed, known = needed + request.shift, self.layout.rotary_length
        if needed > known:
            raise ValueError(f"{needed} rotary positions needed, the engine has {known}")

    @torch.inference_mode()
    def _advance(self) -> None:
        """One step. What breaks it, all requests in slots end with: their cells may be spoilt."""
        try:
            free = self._free_slot()
            if free is not None:
                self._look()
                self._admit(free)
            elif any(self._busy()):
                self._decode()
        except torch.AcceleratorError as exc:  # The device is lost: for those who wait as well.
            self._fail([*self._running(), *self._waiting], exc)
        except Exception as exc:
            self._fail(self._running(), exc)

    def _busy(self) -> Iterator[tuple[Slot, Ticket]]:
        return ((slot, slot.ticket) for slot in self._slots if slot.ticket is not None)

    def _running(self) -> list[Ticket]:
        return [ticket for _, ticket in self._busy()]

    def _free_slot(self) -> Slot | None:
        """Where the next request goes: of free slots, the one that holds most of its prompt."""
        if not self._waiting:
            return None
        free = [slot for slot in self._slots[: self._admitted] if slot.ticket is None]
        head = self._waiting[0].request
        return max(free, key=lambda slot: shared_positions(slot.resident, head), default=None)

    def _admit(self, slot: Slot) -> None:
        ticket, started = self._waiting.popleft(), self._now()
        try:
            self._read_prompt(slot, ticket.request)
        except torch.AcceleratorError:
            self._waiting.appendleft(ticket)
            raise
        except torch.OutOfMemoryError as exc:
            self._waiting.appendleft(ticket)
            self._make_room(ticket, exc)
        except Exception as exc:  # Whatever it is: the ticket is in no slot, and not waiting.
            ticket.outcome = exc
        else:
            slot.ticket, slot.resident, slot.generated = ticket, ticket.request, 1
            ended = self._now()
            ticket.prefill_sec += ended - started
            ticket.ttft_sec = ended - ticket.submitted
            self._harvest()

    def _read_prompt(self, slot: Slot, request: Request) -> None:
        """Copies what another slot holds of the prompt, and reads the rest."""
        donor = max(self._slots, key=lambda other: shared_positions(other.resident, request))
        start = shared_positions(slot.resident, request)
        slot.resident = None  # Until all has been read.
        if shared_positions(donor.resident, request) > start:
            start = shared_positions(donor.resident, request)
            self._decoder.cache.copy_prefix(donor.index, slot.index, start)
        rotary = None
        if request.places is not None:
            rotary = upload(request.positions()[start:], self.model.device)
        embeds = self.model.embed(request, start)
        logits = self._decoder.prefill(embeds, slot.index, start, rotary)
        if not logits.isfinite().all():
            raise RuntimeError("the model's output for this prompt is not a number")
        length = request.num_prompt_tokens
        self._decoder.cache.clear_from(slot.index, length)
        self._state.begin(slot.index, logits, length=length, seed=request.seed, shift=request.shift)

    def _decode(self) -> None:
        """One token for every busy slot, and a look at them when one may have ended."""
        busy = list(self._busy())
        if not self._steps_since_look:
            self._looked_at = self._now()
        longest = max(t.request.num_prompt_tokens + slot.generated for slot, t in busy)
        try:
            self._step(1 + busy[-1][0].index, longest)
        except torch.OutOfMemoryError as exc:
            self._make_room(busy[-1][1], exc)
            return
        self._steps_since_look += 1
        for slot, _ in busy:
            slot.generated += 1
        full = any(slot.generated == self.settings.max_new_tokens for slot, _ in busy)
        if full or self._steps_since_look == self._poll_every:
            self._look()

    def _look(self) -> None:
        """Shares the time since the last look among busy slots, and ends those that are done."""
        if not self._steps_since_look:
            return
        self._steps_since_look = 0
        running = self._running()
        share = (self._now() - self._looked_at) / len(running)
        for ticket in running:
            ticket.decode_sec += share
        self._harvest()

    def _harvest(self) -> None:
        """Ends requests that generated a stop token, or all they may, or took too long."""
        finished = self._state.finished.tolist()
        limit = self.settings.timeout_sec
        for slot, ticket in list(self._busy()):
            full = slot.generated == self.settings.max_new_tokens
            late = limit is not None and ticket.own_sec > limit
            if finished[slot.index] or full or late:
                generated = self._state.generated[slot.index, : slot.generated].tolist()
                ticket.complete(self.model.complete(generated, cut_short=late and not full))
                self._release(slot)
                self._grow()

    def _release(self, slot: Slot) -> None:
        slot.ticket = None
        self._state.end(slot.index)

    def _make_room(self, ticket: Ticket, exc: Exception) -> None:
        """After the device ran out of memory: half as many slots, what ran in others begins anew.

        `ticket` fails if it already ran alone.
        """
        torch.cuda.empty_cache()
        self._steps_since_look = 0
        self._ended_since_full = 0
        if self._admitted == 1:
            self._fail([ticket], exc)
            return
        self._admitted //= 2
        for slot, evicted in reversed(list(self._busy())):
            if slot.index >= self._admitted:
                self._release(slot)
                self._waiting.appendleft(evicted)

    def _grow(self) -> None:
        """Memory may have been short for a while only."""
        self._ended_since_full += 1
        if self._ended_since_full >= CALM * self._admitted:
            self._admitted = min(2 * self._admitted, self.layout.num_slots)
            self._ended_since_full = 0

    def _fail(self, tickets: list[Ticket], exc: Exception) -> None:
        """Outcomes first: a device that is lost may not even let a slot be released."""
        self._steps_since_look = 0
        for ticket in tickets:
            ticket.outcome = exc
            if ticket in self._waiting:
                self._waiting.remove(ticket)
        for slot, ticket in list(self._busy()):
            if ticket in tickets:
                slot.resident = None
                self._release(slot)

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        return self._clock()
