"""How many slots are filled: all, or fewer after the device ran out of memory."""

from __future__ import annotations

from typing import Final

GROW_AFTER: Final = 8
"""Requests that must end in each admitted slot before admission grows again."""


class Admission:
    """Halves when memory is short, and doubles again once enough requests have ended.

    Attributes:
        count: slots, the first ones, that requests may take; at least 1.
    """

    def __init__(self, num_slots: int) -> None:
        self.count = num_slots
        self._num_slots = num_slots
        self._ended = 0

    def halve(self) -> bool:
        """Whether there was anything to halve; what has ended until now no longer counts."""
        self._ended = 0
        if self.count == 1:
            return False
        self.count //= 2
        return True

    def note_end(self) -> None:
        """A request has ended. Memory may have been short for a while only."""
        self._ended += 1
        if self._ended >= GROW_AFTER * self.count:
            self.count = min(2 * self.count, self._num_slots)
            self._ended = 0
