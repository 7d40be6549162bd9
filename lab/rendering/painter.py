"""Drawing and labelling in one: every stroke says which class its pixels show."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from lab.rendering.vocabulary import SHAPES

__all__ = ["Colour", "Labels", "Painter", "Typeface"]

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
# Fonts that matplotlib brings along, since Pillow has one only and a machine may have none.
_FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"


# Varied glyphs are drawn at so many times their size.
_SUPERSAMPLING = 4


@dataclass(frozen=True, kw_only=True)
class Typeface:
    """A font, and how its glyphs differ from the file's.

    Attributes:
        font: file name.
        weight: width of a stroke around each glyph, in heights of the font.
        slant: how far glyphs lean to the right, in parts of their height.
        breadth: their width in times the font's own.
    """

    font: str
    weight: float = 0.0
    slant: float = 0.0
    breadth: float = 1.0

    @property
    def is_varied(self) -> bool:
        """Whether glyphs differ from the font's."""
        return (self.weight, self.slant, self.breadth) != (0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the pixels of a stroke show; see `vocabulary` for the numbers."""

    class_id: int = 0
    place: int = 0
    owner: int = 0
    level: int = 0


class Painter:
    """Draws on an RGB image and, if there are any, on its label masks ("L", in order of `Labels`).

    Lengths are canvas pixels; `unit` is pixels of the image per canvas pixel, and `origin` what the
    corner of the image is.
    """

    def __init__(
        self,
        image: Image.Image,
        unit: float,
        face: Typeface,
        masks: Sequence[Image.Image] = (),
        origin: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.image, self.unit, self.masks = image, unit, masks
        self._face = face
        self._origin = origin
        self._draw = ImageDraw.Draw(image)
        self._mask_draws = [ImageDraw.Draw(mask) for mask in masks]

    def rectangle(
        self,
        box: Box,
        fill: Colour | None,
        outline: Colour | None = None,
        labels: Labels | None = None,
    ) -> None:
        """A filled or outlined rectangle."""
        pixels = self._pixels(box)
        width = max(1, round(self.unit))
        self._draw.rectangle(pixels, fill=fill, outline=outline, width=width)
        self._label(pixels, labels)

    def line(self, points: Sequence[tuple[float, float]], fill: Colour, width: float) -> None:
        """A line through points."""
        left, top = self._origin
        pixels = [((x - left) * self.unit, (y - top) * self.unit) for x, y in points]
        self._draw.line(pixels, fill=fill, width=max(1, round(width * self.unit)))

    def ellipse(self, box: Box, fill: Colour, labels: Labels | None = None) -> None:
        """A filled ellipse; its whole box gets the labels."""
        self._draw.ellipse(self._pixels(box), fill=fill)
        self._label(self._pixels(box), labels)

    def glyph(self, glyph: str, box: Box, ink: Colour, labels: Labels | None = None) -> None:
        """One glyph in the middle of its cell; it owns the whole cell."""
        self._label(self._pixels(box), labels)
        box = self._shifted(box)
        size = max(6, round((box[3] - box[1]) * 0.92 * self.unit))
        middle = ((box[0] + box[2]) / 2 * self.unit, (box[1] + box[3]) / 2 * self.unit)
        # As wide as its cell at most: fonts differ.
        room = (box[2] - box[0]) * self.unit
        if self._face.is_varied:
            stencil = _varied_glyph(self._face, glyph, size, room)
            corner = (
                round(middle[0] - stencil.width / 2),
                round(middle[1] - stencil.height / 2),
            )
            self.image.paste(ink, corner, stencil)
            return
        font = _font(self._face.font, size)
        if (wide := font.getlength(glyph)) > room:
            font = _font(self._face.font, max(6, int(size * room / wide)))
        self._draw.text(middle, glyph, fill=ink, font=font, anchor="mm")

    def word(self, text: str, box: Box, ink: Colour, labels: Labels | None = None) -> None:
        """A word from the left of its box, as large as the box allows."""
        box = self._shifted(box)
        size = max(6, round((box[3] - box[1]) * self.unit))
        font, room = _font(self._face.font, size), (box[2] - box[0]) * self.unit
        if (wide := font.getlength(text)) > room:
            font = _font(self._face.font, max(6, int(size * room / wide)))
        left, middle = box[0] * self.unit, (box[1] + box[3]) / 2 * self.unit
        self._draw.text((left, middle), text, fill=ink, font=font, anchor="lm")
        right = left + font.getlength(text)
        self._label((left, box[1] * self.unit, right, box[3] * self.unit), labels)

    def shape(
        self,
        name: str,
        centre: tuple[float, float],
        diameter: float,
        rotation_deg: float,
        fill: Colour,
        labels: Labels,
    ) -> None:
        """One of `SHAPES`, labelled to its outline."""
        centre = (centre[0] - self._origin[0], centre[1] - self._origin[1])
        _draw_shape(self._draw, name, centre, diameter, rotation_deg, self.unit, fill)
        for draw, value in zip(self._mask_draws, _values(labels), strict=False):
            _draw_shape(draw, name, centre, diameter, rotation_deg, self.unit, value)

    @contextmanager
    def rotated(self, box: Box, rotation_deg: float) -> Iterator[Painter]:
        """A painter whose strokes inside `box` appear rotated about its middle."""
        if rotation_deg == 0:
            yield self
            return
        left, top, right, bottom = self._pixels(box)
        size = (math.ceil(right - left), math.ceil(bottom - top))
        layer, masks = Image.new("RGB", size), [Image.new("L", size) for _ in self.masks]
        yield Painter(layer, self.unit, self._face, masks, (box[0], box[1]))
        turned = functools.partial(_turn, angle=rotation_deg)
        stencil = turned(Image.new("L", size, 255), Image.Resampling.BICUBIC)
        corner = (
            round((left + right - stencil.width) / 2),
            round((top + bottom - stencil.height) / 2),
        )
        self.image.paste(turned(layer, Image.Resampling.BICUBIC), corner, stencil)
        hard = stencil.point(lambda value: 255 * (value > 127))
        for mask, drawn in zip(self.masks, masks, strict=True):
            mask.paste(turned(drawn, Image.Resampling.NEAREST), corner, hard)

    def _pixels(self, box: Box) -> Box:
        left, top, right, bottom = (value * self.unit for value in self._shifted(box))
        return left, top, right, bottom

    def _shifted(self, box: Box) -> Box:
        x, y = self._origin
        return box[0] - x, box[1] - y, box[2] - x, box[3] - y

    def _label(self, pixels: Box, labels: Labels | None) -> None:
        if labels is not None:
            for draw, value in zip(self._mask_draws, _values(labels), strict=False):
                draw.rectangle(pixels, fill=value)


def _values(labels: Labels) -> tuple[int, int, int, int]:
    return labels.class_id, labels.place, labels.owner, labels.level


def _turn(image: Image.Image, resample: Image.Resampling, angle: float) -> Image.Image:
    return image.rotate(angle, resample, expand=True)


@functools.lru_cache(maxsize=2048)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_FONTS / name), size)


def _varied_glyph(face: Typeface, glyph: str, size: int, room: float) -> Image.Image:
    """An "L" stencil with the glyph in its middle, no wider than `room` pixels."""
    wide = _font(face.font, size).getlength(glyph) * face.breadth
    wide += (face.weight + abs(face.slant)) * size
    size = max(6, min(size, int(size * room / wide)))
    large = size * _SUPERSAMPLING
    stencil = Image.new("L", (2 * large, 2 * large))
    ImageDraw.Draw(stencil).text(
        (large, large), glyph, fill=255, font=_font(face.font, large), anchor="mm",
        stroke_width=round(face.weight / 2 * large),
    )  # fmt: skip
    # Which point of the font's glyph each point shows: further right the further down.
    shear, scale = face.slant / face.breadth, 1 / face.breadth
    matrix = (scale, shear, large * (1 - scale - shear), 0.0, 1.0, 0.0)
    leaned = stencil.transform(
        stencil.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return leaned.reduce(_SUPERSAMPLING)


def _draw_shape(
    draw: ImageDraw.ImageDraw,
    name: str,
    centre: tuple[float, float],
    diameter: float,
    rotation_deg: float,
    unit: float,
    fill: int | Colour,
) -> None:
    x, y, radius = centre[0] * unit, centre[1] * unit, diameter / 2 * unit
    box = (x - radius, y - radius, x + radius, y + radius)
    if name == "circle":
        draw.ellipse(box, fill=fill)
    elif name == "ring":
        draw.ellipse(box, outline=fill, width=max(2, round(0.42 * radius)))
    else:
        turn = math.radians(rotation_deg)
        draw.polygon(
            [
                (x + radius * r * math.cos(turn + angle), y + radius * r * math.sin(turn + angle))
                for r, angle in _outline(name)
            ],
            fill=fill,
        )


@functools.cache
def _outline(shape: str) -> tuple[tuple[float, float], ...]:
    """(radius, angle) of the corners of a polygon in the unit circle."""
    assert shape in SHAPES, shape
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
