"""A look at the device from the host: the only place where the engine waits for it."""

from __future__ import annotations

from torch import Tensor

from hired_core.backends.slots.sampling import SlotState


class Look:
    """What slots have come to; by then, all that was queued on the device is done.

    What they have generated is fetched when it is first asked for, for all slots at once.

    Attributes:
        finished, broken: by slot, as of `SlotState`.
    """

    def __init__(self, state: SlotState) -> None:
        self.finished: list[bool]
        self.broken: list[bool]
        self.finished, self.broken = state.flags.tolist()
        self._state = state
        self._generated: Tensor | None = None

    def generated(self, slot: int, count: int) -> list[int]:
        """The first tokens of a slot."""
        if self._generated is None:
            self._generated = self._state.generated.cpu()
        found: list[int] = self._generated[slot, :count].tolist()
        return found
