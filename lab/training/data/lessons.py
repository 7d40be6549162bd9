"""Questions that only training asks: they teach what answers of the benchmark rest on.

Which of two objects is further left takes two lookups and a comparison, answered by one word; to
say where an object lies, or all of them in order, tells much more about every picture.
"""

from __future__ import annotations

import numpy as np

from lab.rendering.geometry import content_size
from lab.rendering.picture import Picture, SceneObject, class_name
from lab.rendering.tasks import Asked

__all__ = ["ask_order", "ask_place"]

# Columns and rows of the grid in which places are said.
_NUM_PLACES = 10
_DIRECTIONS = ("left to right", "right to left", "top to bottom", "bottom to top")


def ask_place(picture: Picture, rng: np.random.Generator) -> Asked | None:
    """Where an object lies: column and row, 0-9 each, of its centre on the image."""
    if not picture.objects:
        return None
    item = picture.objects[rng.integers(len(picture.objects))]
    across, down = (min(int(x * _NUM_PLACES), _NUM_PLACES - 1) for x in _shares(picture, item))
    text = f"Where is the {class_name(item.class_id)}?"
    return Asked(text=text, answer=f"{across} {down}", kind="place")


def ask_order(picture: Picture, rng: np.random.Generator) -> Asked | None:
    """All objects in one of four directions."""
    if len(picture.objects) < 2:
        return None
    direction = _DIRECTIONS[rng.integers(len(_DIRECTIONS))]
    axis = int("top" in direction)
    items = sorted(
        picture.objects,
        key=lambda item: _shares(picture, item)[axis],
        reverse=direction.startswith(("right", "bottom")),
    )
    names = ", ".join(class_name(item.class_id) for item in items)
    return Asked(text=f"Objects from {direction}?", answer=names, kind="order")


def _shares(picture: Picture, item: SceneObject) -> tuple[float, float]:
    """Where the centre lies, in parts of the image's width and height."""
    width, height = content_size(picture.width, picture.height)
    return item.x / width, item.y / height
