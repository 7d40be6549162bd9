"""Scenes with known content: a pure function of an integer seed.

All lengths in a :class:`Scene` are canvas pixels of the content region: the image after the
AnyRes resize, before padding. Content is therefore as legible in a sub-image whatever the size
of the image file; `pixels_per_unit` maps it to the pixels of the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = [
    "CANVASES",
    "COLOURS",
    "GLYPHS",
    "NUM_OBJECT_CLASSES",
    "PARTITION_SIZE",
    "SHAPES",
    "Scene",
    "SceneObject",
    "Sign",
    "best_canvas",
    "content_size",
    "make_scene",
]

PARTITION_SIZE = 112
# (height, width), the five grids of LLaVA-Next at 112 instead of 336 pixels.
CANVASES = ((112, 224), (224, 112), (224, 224), (336, 112), (112, 336))
COLOURS = {
    "red": (215, 35, 35),
    "orange": (245, 140, 20),
    "yellow": (240, 220, 40),
    "green": (40, 160, 60),
    "cyan": (40, 200, 215),
    "blue": (40, 70, 210),
    "purple": (130, 50, 170),
    "pink": (245, 130, 190),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
# No Q, 0 and 1: they look like O and I.
GLYPHS = "ABCDEFGHIJKLMNOPRSTUVWXYZ23456789"
NUM_OBJECT_CLASSES = len(COLOURS) * len(SHAPES)
_MAX_OBJECTS = 6
_GAP = 3.0


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One coloured shape; `x`, `y` is its centre, `colour` and `shape` index the vocabularies."""

    colour: int
    shape: int
    x: float
    y: float
    diameter: float
    rotation_deg: float

    @property
    def class_id(self) -> int:
        """Index of the coloured shape in caption order: by colour, then by shape."""
        return self.colour * len(SHAPES) + self.shape


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A plate with 3-5 glyphs in equal cells of `advance` by `height`; `x`, `y` is its corner."""

    text: str
    x: float
    y: float
    advance: float
    height: float
    margin: float
    style: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What one image shows; `objects` are in caption order, `signs` from top to bottom."""

    seed: int
    width: int
    height: int
    objects: tuple[SceneObject, ...]
    signs: tuple[Sign, ...]

    @property
    def pixels_per_unit(self) -> float:
        """Pixels of the image file per canvas pixel."""
        return self.width / content_size(self.width, self.height)[0]


def best_canvas(width: int, height: int) -> tuple[int, int]:
    """The (height, width) canvas LLaVA-Next picks: most effective, then least wasted pixels."""
    best, best_key = CANVASES[0], (-1, 0)
    for canvas_h, canvas_w in CANVASES:
        scale = min(canvas_w / width, canvas_h / height)
        effective = min(int(width * scale) * int(height * scale), width * height)
        key = (effective, effective - canvas_h * canvas_w)
        if key > best_key:
            best, best_key = (canvas_h, canvas_w), key
    return best


def content_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) of the image on its canvas, before padding, in pixels."""
    canvas_h, canvas_w = best_canvas(width, height)
    scale_w, scale_h = canvas_w / width, canvas_h / height
    if scale_w < scale_h:
        return canvas_w, min(math.ceil(height * scale_w), canvas_h)
    return min(math.ceil(width * scale_h), canvas_w), canvas_h


def make_scene(seed: int) -> Scene:
    """The scene of `seed`: 1-6 objects, no two of the same colour and shape, and 0-2 signs."""
    rng = np.random.default_rng(seed)
    width, height = _image_size(rng)
    layout = _Layout(rng, width, height)
    signs = [_place_sign(layout) for _ in range(rng.choice(3, p=(0.2, 0.65, 0.15)))]
    most = min(_MAX_OBJECTS, int(layout.width * layout.height) // 5500)
    wanted = int(rng.integers(1, most + 1))
    class_ids = sorted(rng.choice(NUM_OBJECT_CLASSES, size=wanted, replace=False).tolist())
    objects = [_place_object(layout, class_id) for class_id in class_ids]
    return Scene(
        seed=seed,
        width=width,
        height=height,
        objects=tuple(item for item in objects if item is not None),
        signs=tuple(sorted((s for s in signs if s is not None), key=lambda sign: sign.y)),
    )


def _image_size(rng: np.random.Generator) -> tuple[int, int]:
    """(width, height) in file pixels: half fill a canvas, half are narrower one way."""
    canvas_h, canvas_w = CANVASES[rng.integers(len(CANVASES))]
    scale = math.exp(rng.uniform(math.log(0.7), math.log(2.5)))
    shrink_w = shrink_h = 1.0
    if rng.random() < 0.5:
        shrink = rng.uniform(0.62, 0.97)
        shrink_w, shrink_h = (shrink, 1.0) if rng.random() < 0.5 else (1.0, shrink)
    return round(canvas_w * shrink_w * scale), round(canvas_h * shrink_h * scale)


class _Layout:
    """Places boxes that do not overlap on the content region of one image."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng = rng
        self.width, self.height = content_size(width, height)
        canvas_h, canvas_w = best_canvas(width, height)
        self.pad_x = (canvas_w - self.width) // 2
        self.pad_y = (canvas_h - self.height) // 2
        self.boxes: list[tuple[float, float, float, float]] = []

    def place(self, width: float, height: float) -> tuple[float, float] | None:
        """Corner of a free box; None when 40 tries find none.

        Most boxes that a cell boundary of the canvas would cut are tried elsewhere: a cut object
        is harder to name from either sub-image, and a share of them is enough.
        """
        if width > self.width - 2 * _GAP or height > self.height - 2 * _GAP:
            return None
        for _ in range(40):
            x = self.rng.uniform(_GAP, self.width - width - _GAP)
            y = self.rng.uniform(_GAP, self.height - height - _GAP)
            if self._is_cut(x, y, width, height) and self.rng.random() < 0.7:
                continue
            if not self._overlaps(x, y, width, height):
                self.boxes.append((x, y, x + width, y + height))
                return x, y
        return None

    def _is_cut(self, x: float, y: float, width: float, height: float) -> bool:
        x, y = x + self.pad_x, y + self.pad_y
        cell_x, cell_y = x // PARTITION_SIZE, y // PARTITION_SIZE
        return bool(
            (x + width) // PARTITION_SIZE != cell_x or (y + height) // PARTITION_SIZE != cell_y
        )

    def _overlaps(self, x: float, y: float, width: float, height: float) -> bool:
        return any(
            x < right + _GAP
            and left < x + width + _GAP
            and y < bottom + _GAP
            and top < y + height + _GAP
            for left, top, right, bottom in self.boxes
        )


def _place_object(layout: _Layout, class_id: int) -> SceneObject | None:
    rng = layout.rng
    largest = min(54.0, 0.6 * min(layout.width, layout.height))
    diameter = rng.uniform(26.0, largest)
    corner = layout.place(diameter, diameter)
    if corner is None:
        diameter = 26.0
        corner = layout.place(diameter, diameter)
    if corner is None:
        return None
    return SceneObject(
        colour=class_id // len(SHAPES),
        shape=class_id % len(SHAPES),
        x=corner[0] + diameter / 2,
        y=corner[1] + diameter / 2,
        diameter=diameter,
        rotation_deg=rng.uniform(-15.0, 15.0),
    )


def _place_sign(layout: _Layout) -> Sign | None:
    rng = layout.rng
    text = "".join(GLYPHS[i] for i in rng.integers(len(GLYPHS), size=rng.integers(3, 6)))
    margin = 4.0
    room = (layout.width - 2 * _GAP - 2 * margin - 1) / len(text)
    advance = min(rng.uniform(17.0, 21.0), room)
    height = advance * rng.uniform(1.3, 1.5)
    if advance < 15.0:
        return None
    corner = layout.place(advance * len(text) + 2 * margin, height + 2 * margin)
    if corner is None:
        return None
    return Sign(
        text=text,
        x=corner[0],
        y=corner[1],
        advance=advance,
        height=height,
        margin=margin,
        style=int(rng.integers(6)),
    )
