"""Pictures of scenes, and masks which say what every pixel shows."""

from __future__ import annotations

import functools
import math

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

from pipeline.evaluation.scenes import (
    COLOURS,
    GLYPHS,
    NUM_OBJECT_CLASSES,
    SHAPES,
    Scene,
    SceneObject,
    Sign,
)

__all__ = ["NUM_MASK_CLASSES", "draw_masks", "draw_scene", "glyph_class"]

# Mask values: 0 nothing, then the coloured shapes, then the glyphs.
NUM_MASK_CLASSES = 1 + NUM_OBJECT_CLASSES + len(GLYPHS)
_COLOUR_VALUES = tuple(COLOURS.values())
_Colour = tuple[int, int, int]
# (plate, ink) of a sign.
_STYLES: tuple[tuple[_Colour, _Colour], ...] = (
    ((250, 250, 250), (15, 15, 15)),
    ((250, 244, 200), (40, 20, 10)),
    ((215, 230, 250), (10, 20, 60)),
    ((25, 25, 30), (245, 245, 245)),
    ((15, 60, 45), (250, 250, 235)),
    ((20, 35, 95), (250, 250, 250)),
)


def glyph_class(glyph: str) -> int:
    """Mask value of a glyph."""
    return 1 + NUM_OBJECT_CLASSES + GLYPHS.index(glyph)


def draw_scene(scene: Scene) -> Image.Image:
    """The RGB image of a scene; the same pixels for the same scene."""
    rng = np.random.default_rng((scene.seed, 1))
    image = _background(rng, scene.width, scene.height)
    draw = ImageDraw.Draw(image)
    unit = scene.pixels_per_unit
    for sign in scene.signs:
        _draw_sign(draw, sign, unit)
    for item in scene.objects:
        jitter = rng.integers(-18, 19, size=3)
        red, green, blue = np.clip(np.add(_COLOUR_VALUES[item.colour], jitter), 0, 255).tolist()
        _draw_object(draw, item, unit, (red, green, blue))
    return image


def draw_masks(scene: Scene) -> tuple[Image.Image, Image.Image]:
    """Two "L" images of the scene's size: the class of each pixel, and the place in its sign.

    A glyph owns its whole cell; its place is 1 for the first glyph of a sign, and 0 is no glyph.
    """
    classes = Image.new("L", (scene.width, scene.height))
    places = classes.copy()
    draw_class, draw_place = ImageDraw.Draw(classes), ImageDraw.Draw(places)
    unit = scene.pixels_per_unit
    for sign in scene.signs:
        for index, glyph in enumerate(sign.text):
            left = (sign.x + sign.margin + index * sign.advance) * unit
            top = (sign.y + sign.margin) * unit
            box = (left, top, left + sign.advance * unit, top + sign.height * unit)
            draw_class.rectangle(box, fill=glyph_class(glyph))
            draw_place.rectangle(box, fill=index + 1)
    for item in scene.objects:
        _draw_object(draw_class, item, unit, 1 + item.class_id)
    return classes, places


def _background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Greyish and low in colour: plain, a gradient, or with light blotchy noise."""
    kind = rng.integers(3)
    level = rng.integers(35, 236, size=(2, 2, 1) if kind == 1 else (1, 1, 1))
    corners = np.clip(level + rng.integers(-14, 15, size=(1, 1, 3)), 0, 255).astype(np.uint8)
    size = (width, height)
    image = Image.fromarray(np.broadcast_to(corners, (2, 2, 3)).copy())
    image = image.resize(size, Image.Resampling.BILINEAR)
    if kind == 2:
        amplitude = int(rng.integers(8, 40))
        coarse = rng.integers(
            0, amplitude, size=(height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8
        )
        noise = Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)
        image = ImageChops.add(image, noise, scale=1.0, offset=-amplitude // 2)
    return image


def _draw_sign(draw: ImageDraw.ImageDraw, sign: Sign, unit: float) -> None:
    plate, ink = _STYLES[sign.style]
    left, top = sign.x * unit, sign.y * unit
    right = left + (sign.advance * len(sign.text) + 2 * sign.margin) * unit
    bottom = top + (sign.height + 2 * sign.margin) * unit
    draw.rectangle((left, top, right, bottom), fill=plate, outline=ink, width=max(1, round(unit)))
    font = _font(max(8, round(sign.height * 1.05 * unit)))
    for index, glyph in enumerate(sign.text):
        x = left + (sign.margin + (index + 0.5) * sign.advance) * unit
        y = top + (sign.margin + sign.height / 2) * unit
        draw.text((x, y), glyph, fill=ink, font=font, anchor="mm")


@functools.lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType: the signs need its default font")
    return font


def _draw_object(
    draw: ImageDraw.ImageDraw, item: SceneObject, unit: float, fill: int | _Colour
) -> None:
    shape = SHAPES[item.shape]
    x, y, radius = item.x * unit, item.y * unit, item.diameter / 2 * unit
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        draw.ellipse(box, fill=fill)
    elif shape == "ring":
        draw.ellipse(box, outline=fill, width=max(2, round(0.42 * radius)))
    else:
        turn = math.radians(item.rotation_deg)
        draw.polygon(
            [
                (x + radius * r * math.cos(turn + angle), y + radius * r * math.sin(turn + angle))
                for r, angle in _outline(shape)
            ],
            fill=fill,
        )


@functools.cache
def _outline(shape: str) -> tuple[tuple[float, float], ...]:
    """(radius, angle) of the corners of a polygon in the unit circle."""
    up = -math.pi / 2
    if shape == "square":
        return tuple((0.98, math.pi / 4 + k * math.pi / 2) for k in range(4))
    if shape == "triangle":
        return tuple((1.0, up + k * 2 * math.pi / 3) for k in range(3))
    if shape == "star":
        return tuple((1.0 if k % 2 == 0 else 0.42, up + k * math.pi / 5) for k in range(10))
    arm, end = 0.3, 0.95
    corners = [(arm, end), (arm, arm), (end, arm)]
    quarter = [(math.hypot(a, b), math.atan2(b, a)) for a, b in reversed(corners)]
    return tuple((r, angle + k * math.pi / 2) for k in range(4) for r, angle in quarter)
