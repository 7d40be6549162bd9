"""How many slots are filled and how much of a prompt is read at once: less when memory is short."""

from __future__ import annotations

from typing import Final

GROW_AFTER: Final = 8
"""Requests that must end in each admitted slot before admission grows again."""

LEAST_CHUNK: Final = 128
"""Positions of a prompt: fewer at once would free next to nothing."""


class Admission:
    """Halves when memory is short, and doubles again once enough requests have ended.

    Cells are there once and for all, so that fewer slots free no more than a narrower step does.
    What a prompt takes while it is read goes with the positions that are read at once: these are
    halved first.

    Attributes:
        count: slots, the first ones, that requests may take; at least 1.
        chunk: positions of a prompt at once.
    """

    def __init__(self, num_slots: int, chunk: int) -> None:
        self.count = num_slots
        self.chunk = chunk
        self._num_slots, self._chunk = num_slots, chunk
        self._ended = 0

    def split(self, positions: int) -> bool:
        """Whether a prompt of so many positions can be read in smaller pieces than it was."""
        self._ended = 0
        piece = min(positions, self.chunk) // 2
        if piece < LEAST_CHUNK:
            return False
        self.chunk = piece
        return True

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
            self.chunk = min(2 * self.chunk, self._chunk)
            self._ended = 0
