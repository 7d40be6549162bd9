"""Where content goes: crowded sub-images beside bare ones."""

from __future__ import annotations

import numpy as np

from lab.rendering.geometry import PARTITION_SIZE, best_canvas, content_size

__all__ = ["Placement"]

_GAP = 3.0
_TRIES = 30
# Dirichlet parameter of how crowded the sub-images are: the smaller, the more uneven.
_EVENNESS = 0.35
# Share of boxes that may lie anywhere, across sub-images too.
_ANYWHERE = 0.15


class Placement:
    """Places boxes that do not overlap on the content region of one image."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng = rng
        self.width, self.height = content_size(width, height)
        canvas_h, canvas_w = best_canvas(width, height)
        self._cells = self._visible_cells(canvas_w, canvas_h)
        self._crowding = rng.dirichlet(np.full(len(self._cells), _EVENNESS))
        self.boxes: list[tuple[float, float, float, float]] = []

    def place(self, width: float, height: float, whole: bool = False) -> tuple[float, float] | None:
        """Corner of a free box; None when there is no room for it.

        Most boxes lie within one sub-image, more of them in the crowded ones; `whole` lets none
        lie across unless none fits within.
        """
        for attempt in range(2 * _TRIES):
            is_anywhere = attempt >= _TRIES or (not whole and self.rng.random() < _ANYWHERE)
            cell = (0.0, 0.0, float(self.width), float(self.height))
            if not is_anywhere:
                cell = self._cells[self.rng.choice(len(self._cells), p=self._crowding)]
            corner = self._try(cell, width, height)
            if corner is not None:
                return corner
        return None

    def _try(
        self, cell: tuple[float, float, float, float], width: float, height: float
    ) -> tuple[float, float] | None:
        left, top, right, bottom = cell
        room_x, room_y = right - left - width - 2 * _GAP, bottom - top - height - 2 * _GAP
        if room_x < 0 or room_y < 0:
            return None
        x = left + _GAP + self.rng.uniform(0, room_x)
        y = top + _GAP + self.rng.uniform(0, room_y)
        if self._overlaps(x, y, width, height):
            return None
        self.boxes.append((x, y, x + width, y + height))
        return x, y

    def _visible_cells(
        self, canvas_w: int, canvas_h: int
    ) -> list[tuple[float, float, float, float]]:
        """(left, top, right, bottom) of the sub-images, without their padding."""
        pad_x, pad_y = (canvas_w - self.width) // 2, (canvas_h - self.height) // 2
        return [
            (
                max(0.0, left - pad_x),
                max(0.0, top - pad_y),
                min(float(self.width), left - pad_x + PARTITION_SIZE),
                min(float(self.height), top - pad_y + PARTITION_SIZE),
            )
            for top in range(0, canvas_h, PARTITION_SIZE)
            for left in range(0, canvas_w, PARTITION_SIZE)
        ]

    def _overlaps(self, x: float, y: float, width: float, height: float) -> bool:
        return any(
            x < right + _GAP
            and left < x + width + _GAP
            and y < bottom + _GAP
            and top < y + height + _GAP
            for left, top, right, bottom in self.boxes
        )
