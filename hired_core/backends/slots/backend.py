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

from hired_core.backends.base import NOT_A_NUMBER, Capacity
from hired_core.backends.device_queue import DeviceQueue
from hired_core.backends.slots.admission import Admission
from hired_core.backends.slots.decoder import SlotDecoder
from hired_core.backends.slots.graphs import make_step
from hired_core.backends.slots.masks import SlotMasks
from hired_core.backends.slots.memory import SlotLayout
from hired_core.backends.slots.reading import PromptReader
from hired_core.backends.slots.sampling import Look, SlotState
from hired_core.backends.slots.tickets import Slot, Ticket
from hired_core.backends.slots.workspace import trim_memory
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, LanguageModel, Request

POLL_EVERY_ON_GPU: Final = 8


class SlotBackend:
    """Generates in `layout.num_slots` slots; safe to call from several threads at once.

    Whatever the engine keeps is touched by the thread of `queue` alone.

    Calls share the slots: one that a call's request leaves is taken by the next request of any
    call. Prompts that begin alike share what is read: cells of the text before the image are kept
    from request to request, and requests with the same features (the same tensor object) read their
    image once. With a `KeepSchedule` each reads its own: what is dropped depends on the question.

    When the device runs out of memory, prompts are read in smaller pieces, then half as many slots
    are filled; a request that does not even run alone fails.

    Where texts have a form (`settings.form`), `SlotMasks` says what that costs; where they have
    none, nothing.

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
        decoder = SlotDecoder(model.decoder, layout)
        self._reader = PromptReader(model, decoder, layout.schedule)
        grammar = model.grammar(settings.form)
        self._state = SlotState(
            num_slots=layout.num_slots,
            settings=settings,
            stop_ids=model.stop_ids,
            device=model.device,
            num_drops=len(layout.lengths) - 1,
            mask_words=None if grammar is None else grammar.num_words,
        )
        self._stop_strings = model.stop_strings(settings.stop_strings)
        self._slots = [Slot(index) for index in range(layout.num_slots)]
        self._masks = None if grammar is None else SlotMasks(grammar, self._state, self._slots)
        self._step = make_step(decoder, self._state, self._masks)
        trim_memory()  # Loading weights leaves as much behind as they take.
        self._poll_every = POLL_EVERY_ON_GPU if model.device.type == "cuda" else 1
        self._waiting: deque[Ticket] = deque()
        self._admission = Admission(layout.num_slots, layout.chunk)
        self._steps_since_poll = 0
        self._polled_at = 0.0

    @property
    def capacity(self) -> Capacity:
        return self.layout.capacity

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
        new, layout = self.settings.max_new_tokens, self.layout
        for length, most in zip(self._reader.lengths(request), layout.lengths, strict=True):
            if length + new > most:
                where = "" if most == layout.max_length else " where rows are dropped"
                raise ValueError(f"{length + new} positions needed{where}, a slot has {most}")
        needed, known = request.num_positions + new, layout.rotary_length
        if needed > known:
            raise ValueError(f"{needed} rotary positions needed, the engine has {known}")

    @torch.inference_mode()
    def _advance(self) -> None:
        """One step. What breaks it, all requests in slots end with: their cells may be spoilt."""
        try:
            free = self._free_slot()
            if free is not None:
                self._poll()
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
        admitted, head = self._slots[: self._admission.count], self._waiting[0].request
        free = [slot for slot in admitted if slot.ticket is None]
        return max(free, key=lambda slot: self._reader.held(slot, head), default=None)

    def _admit(self, slot: Slot) -> None:
        ticket, started, shortage = self._waiting.popleft(), self._clock(), None
        try:
            self._read_prompt(slot, ticket.request)
        except torch.AcceleratorError:
            self._waiting.appendleft(ticket)
            raise
        except torch.OutOfMemoryError as exc:
            shortage = _without_frames(exc)
        except Exception as exc:  # Whatever it is: the ticket is in no slot, and not waiting.
            ticket.outcome = exc
        else:
            slot.ticket, slot.resident, slot.generated = ticket, ticket.request, 1
            look, ended = Look(self._state), self._clock()
            ticket.prefill_sec += ended - started
            ticket.ttft_sec = ended - ticket.submitted
            self._end_finished(look)
        if shortage is not None:
            self._waiting.appendleft(ticket)
            if self._admission.split(ticket.request.num_prompt_tokens):
                torch.cuda.empty_cache()
            else:
                self._make_room(ticket, shortage)

    def _read_prompt(self, slot: Slot, request: Request) -> None:
        self._reader.decoder.chunk = self._admission.chunk
        logits = self._reader.read(slot, self._slots, request)
        if self._masks is not None:
            self._masks.begin(slot.index)
        self._state.begin(
            slot.index,
            logits,
            length=slot.lengths[0],
            seed=request.seed,
            shift=request.shift,
            dropped=[slot.lengths[0] - length for length in slot.lengths[1:]],
        )

    def _decode(self) -> None:
        """One token for every busy slot, polled when one may have ended."""
        busy = list(self._busy())
        if not self._steps_since_poll:
            self._polled_at = self._clock()  # The device is idle: it was looked at last.
        ends = [[length + slot.generated for length in slot.lengths] for slot, _ in busy]
        longest, shortage = [max(of_cache) for of_cache in zip(*ends, strict=True)], None
        try:
            self._step(1 + busy[-1][0].index, longest)
        except torch.OutOfMemoryError as exc:
            shortage = _without_frames(exc)
        if shortage is not None:
            self._make_room(busy[-1][1], shortage)
            return
        self._steps_since_poll += 1
        for slot, _ in busy:
            slot.generated += 1
        full = any(slot.generated == self.settings.max_new_tokens for slot, _ in busy)
        if full or self._steps_since_poll == self._poll_every:
            self._poll()

    def _poll(self) -> None:
        """Shares the time since the last look among busy slots, and ends those that are done."""
        if not self._steps_since_poll:
            return
        self._steps_since_poll = 0
        look, running = Look(self._state), self._running()
        share = (self._clock() - self._polled_at) / len(running)
        for ticket in running:
            ticket.decode_sec += share
        self._end_finished(look)

    def _end_finished(self, look: Look) -> None:
        """Ends requests that generated a stop token, or all they may, or took too long."""
        limit = self.settings.generation_timeout_sec
        for slot, ticket in list(self._busy()):
            if look.broken[slot.index]:
                where = ", for this prompt" if slot.generated == 1 else ""
                self._fail([ticket], RuntimeError(NOT_A_NUMBER + where))
                continue
            full = slot.generated == self.settings.max_new_tokens
            late = limit is not None and ticket.own_sec > limit
            if full or late or self._has_stopped(slot, look):
                generated = look.generated(slot.index, slot.generated)
                ticket.complete(self._completion(generated, cut_short=late and not full))
                self._release(slot)
                self._admission.note_end()

    def _has_stopped(self, slot: Slot, look: Look) -> bool:
        if self._stop_strings is None or look.finished[slot.index]:
            return look.finished[slot.index]
        text = look.generated(slot.index, slot.generated)
        return self._stop_strings.end(text) is not None

    def _completion(self, generated: list[int], *, cut_short: bool) -> Completion:
        return self.model.complete(generated, cut_short=cut_short, stop_strings=self._stop_strings)

    def _release(self, slot: Slot) -> None:
        slot.ticket = None
        self._state.end(slot.index)

    def _make_room(self, ticket: Ticket, exc: Exception) -> None:
        """After the device ran out of memory: half as many slots, what ran in others begins anew.

        `ticket` fails if it already ran alone.
        """
        torch.cuda.empty_cache()
        self._steps_since_poll = 0
        if not self._admission.halve():
            self._fail([ticket], exc)
            return
        for slot, evicted in reversed(list(self._busy())):
            if slot.index >= self._admission.count:
                self._release(slot)
                self._waiting.appendleft(evicted)

    def _fail(self, tickets: list[Ticket], exc: Exception) -> None:
        """Outcomes first: a device that is lost may not even let a slot be released."""
        self._steps_since_poll = 0
        for ticket in tickets:
            ticket.outcome = exc
            if ticket in self._waiting:
                self._waiting.remove(ticket)
        for slot, ticket in list(self._busy()):
            if ticket in tickets:
                slot.resident = None
                self._release(slot)


def _without_frames(exc: torch.OutOfMemoryError) -> torch.OutOfMemoryError:
    """Its traceback holds the failed call's tensors, and memory would stay short."""
    return exc.with_traceback(None)
