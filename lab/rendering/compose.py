"""Pictures from seeds: a pure function of split, kind and seed."""

from __future__ import annotations

import math

import numpy as np

from lab.rendering.geometry import CANVASES
from lab.rendering.picture import (
    Bar,
    Chart,
    Form,
    FormLine,
    Picture,
    SceneObject,
    Sign,
)
from lab.rendering.placement import Placement
from lab.rendering.splits import SPLITS
from lab.rendering.vocabulary import (
    GLYPHS,
    KEYS,
    LETTERS,
    NUM_OBJECT_CLASSES,
    SHAPES,
)

__all__ = ["KINDS", "NUM_STYLES", "make_picture"]

KINDS = ("scene", "form", "chart")
NUM_STYLES = 8
_MAX_OBJECTS = 6
_Rng = np.random.Generator


def make_picture(kind: str, split: str, seed: int) -> Picture:
    """The picture of `seed`: objects and signs, a form, or a chart.

    Raises:
        ValueError: There is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of picture {kind!r}; there are {', '.join(KINDS)}")
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    while True:
        width, height = _image_size(rng)
        placement = Placement(rng, width, height)
        if kind == "scene":
            return _scene(split, seed, width, height, placement)
        panel = _form(split, placement) if kind == "form" else _chart(split, placement)
        # A narrow image may have no room for the panel.
        if isinstance(panel, Form):
            return Picture(seed=seed, split=split, width=width, height=height, form=panel)
        if panel is not None:
            return Picture(seed=seed, split=split, width=width, height=height, chart=panel)


def _image_size(rng: _Rng) -> tuple[int, int]:
    """(width, height) in file pixels: half fill a canvas, half are narrower one way."""
    canvas_h, canvas_w = CANVASES[rng.integers(len(CANVASES))]
    scale = math.exp(rng.uniform(math.log(0.9), math.log(1.7)))
    shrink_w = shrink_h = 1.0
    if rng.random() < 0.5:
        shrink = rng.uniform(0.66, 0.97)
        shrink_w, shrink_h = (shrink, 1.0) if rng.random() < 0.5 else (1.0, shrink)
    return round(canvas_w * shrink_w * scale), round(canvas_h * shrink_h * scale)


def _scene(split: str, seed: int, width: int, height: int, placement: Placement) -> Picture:
    """1-6 objects, no two of the same colour and shape, and 0-2 signs."""
    rng = placement.rng
    signs = [_sign(split, placement) for _ in range(rng.choice(3, p=(0.25, 0.65, 0.1)))]
    wanted = int(rng.integers(1, _MAX_OBJECTS + 1))
    class_ids = sorted(rng.choice(NUM_OBJECT_CLASSES, size=wanted, replace=False).tolist())
    objects = [_object(placement, class_id) for class_id in class_ids]
    return Picture(
        seed=seed,
        split=split,
        width=width,
        height=height,
        objects=tuple(item for item in objects if item is not None),
        signs=tuple(sorted((s for s in signs if s is not None), key=lambda sign: sign.y)),
    )


def _object(placement: Placement, class_id: int) -> SceneObject | None:
    rng = placement.rng
    diameter = rng.uniform(24.0, 50.0)
    corner = placement.place(diameter, diameter)
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


def _sign(split: str, placement: Placement) -> Sign | None:
    rng = placement.rng
    text = _random_text(rng, int(rng.integers(4, 9)))
    margin, advance = 4.0, rng.uniform(14.5, 18.0)
    height = advance * rng.uniform(1.25, 1.4)
    rotation_deg = rng.uniform(-5.0, 5.0) if rng.random() < 0.4 else 0.0
    width, tall = advance * len(text) + 2 * margin, height + 2 * margin
    # The room a rotated plate takes.
    lean = math.sin(math.radians(abs(rotation_deg)))
    box_w, box_h = width + tall * lean, tall + width * lean
    corner = placement.place(box_w, box_h, whole=True)
    if corner is None:
        return None
    return Sign(
        text=text,
        x=corner[0] + (box_w - width) / 2,
        y=corner[1] + (box_h - tall) / 2,
        advance=advance,
        height=height,
        margin=margin,
        style=int(rng.integers(NUM_STYLES)),
        font=_font(rng, split),
        rotation_deg=rotation_deg,
    )


def _form(split: str, placement: Placement) -> Form | None:
    rng = placement.rng
    keys = rng.choice(len(KEYS), size=int(rng.integers(3, 6)), replace=False).tolist()
    lines = tuple(FormLine(key=key, value=_value(rng)) for key in keys)
    advance, key_width = rng.uniform(14.5, 16.0), rng.uniform(50.0, 58.0)
    height = advance * rng.uniform(1.2, 1.3)
    pitch = height + rng.uniform(3.0, 8.0)
    width = key_width + advance * max(len(line.value) for line in lines) + 18.0
    corner = placement.place(width, pitch * len(lines) + 10.0, whole=True)
    if corner is None:
        return None
    return Form(
        lines=lines,
        x=corner[0],
        y=corner[1],
        width=width,
        key_width=key_width,
        advance=advance,
        height=height,
        pitch=pitch,
        style=int(rng.integers(NUM_STYLES)),
        font=_font(rng, split),
        has_rules=bool(rng.random() < 0.5),
    )


def _chart(split: str, placement: Placement) -> Chart | None:
    rng = placement.rng
    kind = str(rng.choice(("bars", "line", "axis"), p=(0.55, 0.25, 0.2)))
    labels = rng.choice(list(LETTERS), size=int(rng.integers(3, 5)), replace=False).tolist()
    values = rng.permutation(np.arange(1, 20))[: len(labels)] * 5
    if kind != "axis":
        # Not the same value twice, so that one is the highest.
        values = np.minimum(99, np.maximum(10, values + rng.integers(0, 5, size=len(values))))
    bars = tuple(Bar(label=x, value=int(v)) for x, v in zip(labels, values, strict=True))
    chart = Chart(
        kind=kind,
        bars=bars,
        x=0.0,
        y=0.0,
        pitch=rng.uniform(31.0, 34.0),
        plot_height=rng.uniform(75.0, 110.0),
        advance=rng.uniform(14.5, 15.5),
        colours=tuple(rng.integers(NUM_STYLES, size=len(bars)).tolist()),
        style=int(rng.integers(4)),
        font=_font(rng, split),
    )
    corner = placement.place(*chart.size, whole=True)
    if corner is None:
        return None
    return Chart(**{**vars(chart), "x": corner[0], "y": corner[1]})


def _value(rng: _Rng) -> str:
    """3-5 glyphs; half of the values are numbers."""
    glyphs = "0123456789" if rng.random() < 0.5 else GLYPHS
    return _random_text(rng, int(rng.integers(3, 6)), glyphs)


def _random_text(rng: _Rng, length: int, glyphs: str = GLYPHS) -> str:
    return "".join(glyphs[i] for i in rng.integers(len(glyphs), size=length))


def _font(rng: _Rng, split: str) -> int:
    return int(rng.integers(len(SPLITS[split].fonts)))
