"""What each slot's text may go on with: from the tokens that were chosen to a mask on the device.

A step with masks is two: the decoder's pass, and the choice among its logits. While the device is
at the first, the host learns which tokens came out of the step before, moves the cursors and fills
the masks for the second. What it costs, and only where there is a grammar: one wait for that
copy of tokens in each step, which was queued before the pass and so never waits for it; filling,
microseconds a slot, hidden behind the pass on GPUs unless the pass is shorter, not hidden on CPUs;
and an upload of V / 8 bytes a slot.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hired_core.backends.slots.sampling import SlotState
from hired_core.backends.slots.tickets import Slot
from hired_core.language.grammar import Cursor, Grammar
from hired_core.transfer import upload

__all__ = ["SlotMasks"]


class SlotMasks:
    """A cursor for each slot under way, and their masks.

    Args:
        state: of which `masks` are kept up to date.
        slots: the engine's own; those with a ticket are under way.
    """

    def __init__(self, grammar: Grammar, state: SlotState, slots: Sequence[Slot]) -> None:
        assert state.masks is not None, "made with room for masks"
        self._grammar = grammar
        self._state = state
        self._slots = slots
        self._device_masks = state.masks
        on_gpu = state.masks.device.type == "cuda"
        self._masks = _host(state.masks, pinned=on_gpu)
        self._tokens = _host(state.tokens, pinned=on_gpu)
        self._first = upload(grammar.first, state.masks.device)
        self._copied = torch.cuda.Event() if on_gpu else None
        self._cursors: dict[int, Cursor] = {}

    def begin(self, slot: int) -> None:
        """The slot's next token is the first of a text."""
        self._cursors[slot] = self._grammar.cursor()
        self._device_masks[slot].copy_(self._first)

    def ask(self, num_slots: int) -> None:
        """Starts the copy of the tokens that the first slots have chosen last."""
        self._tokens[:num_slots].copy_(self._state.tokens[:num_slots], non_blocking=True)
        if self._copied is not None:
            self._copied.record()

    def answer(self, num_slots: int) -> None:
        """Takes what was asked for, and sets the masks of what comes next.

        A step that is done again, as after it ran out of memory, takes no token twice.
        """
        if self._copied is not None:
            self._copied.synchronize()
        tokens = self._tokens[:num_slots].tolist()
        busy = [slot for slot in self._slots[:num_slots] if slot.ticket is not None]
        cursors = [self._cursors[slot.index] for slot in busy]
        for slot, cursor in zip(busy, cursors, strict=True):
            if cursor.taken < slot.generated:
                cursor.take(tokens[slot.index])
        self._grammar.fill(cursors, self._masks, [slot.index for slot in busy])
        self._device_masks[:num_slots].copy_(self._masks[:num_slots], non_blocking=True)


def _host(like: Tensor, *, pinned: bool) -> Tensor:
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=pinned).fill_(-1)
