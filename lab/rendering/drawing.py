"""Images of pictures, and masks which say what every pixel shows."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from lab.rendering.backgrounds import BACKGROUNDS
from lab.rendering.painter import Colour, Labels, Painter, Typeface
from lab.rendering.picture import Chart, Form, Picture, SceneObject, Sign
from lab.rendering.splits import SPLITS
from lab.rendering.vocabulary import (
    BAR,
    COLOURS,
    FIRST_KEY,
    KEYS,
    SHAPES,
    SMALL_TEXT,
    glyph_class,
    key_owner,
    letter_owner,
)

__all__ = ["Drawn", "draw_picture"]

_COLOUR_VALUES = tuple(COLOURS.values())
# (plate, ink) of signs and cards; panels of charts take the first four.
_STYLES: tuple[tuple[Colour, Colour], ...] = (
    ((250, 250, 250), (15, 15, 15)),
    ((250, 244, 200), (40, 20, 10)),
    ((215, 230, 250), (10, 20, 60)),
    ((226, 226, 220), (60, 55, 60)),
    ((25, 25, 30), (245, 245, 245)),
    ((15, 60, 45), (250, 250, 235)),
    ((20, 35, 95), (250, 250, 250)),
    ((90, 80, 78), (235, 230, 210)),
)
_BAR_COLOURS: tuple[Colour, ...] = (
    (76, 114, 176), (221, 132, 82), (85, 168, 104), (196, 78, 82),
    (129, 114, 179), (147, 120, 96), (218, 139, 195), (140, 140, 140),
)  # fmt: skip


class Drawn(NamedTuple):
    """An RGB image and its masks, "L" of the same size, in the order of `Labels`."""

    image: Image.Image
    masks: tuple[Image.Image, ...]


def draw_picture(picture: Picture, with_masks: bool = False) -> Drawn:
    """The same pixels for the same picture, with or without masks."""
    rng = np.random.default_rng((picture.seed, 101))
    split, size = SPLITS[picture.split], (picture.width, picture.height)
    background = split.backgrounds[rng.integers(len(split.backgrounds))]
    image = BACKGROUNDS[background](rng, *size)
    masks = tuple(Image.new("L", size) for _ in range(4)) if with_masks else ()
    painter = _PainterOf(image, picture.pixels_per_unit, _faces(picture), masks)
    _draw_clutter(painter(0), rng, picture)
    for sign in picture.signs:
        _draw_sign(painter(sign.font), sign)
    for item in picture.objects:
        _draw_object(painter(0), item, rng)
    if picture.form is not None:
        _draw_form(painter(picture.form.font), picture.form)
    if picture.chart is not None:
        _draw_chart(painter(picture.chart.font), picture.chart)
    return Drawn(_photograph(image, rng, picture.pixels_per_unit), masks)


class _PainterOf(NamedTuple):
    """Painters of one image by the font they write in."""

    image: Image.Image
    unit: float
    faces: tuple[Typeface, ...]
    masks: tuple[Image.Image, ...]

    def __call__(self, font: int) -> Painter:
        return Painter(self.image, self.unit, self.faces[font], self.masks)


def _faces(picture: Picture) -> tuple[Typeface, ...]:
    """The split's fonts; where it varies them, two pictures of three write in no font's own way."""
    split = SPLITS[picture.split]
    rng = np.random.default_rng((picture.seed, 103))
    if not split.varies_glyphs or rng.random() < 1 / 3:
        return tuple(Typeface(font=font) for font in split.fonts)
    weight, slant, breadth = rng.uniform((0.0, -0.2, 0.85), (0.14, 0.2, 1.2)).tolist()
    return tuple(
        Typeface(font=font, weight=weight, slant=slant, breadth=breadth) for font in split.fonts
    )


def _draw_clutter(painter: Painter, rng: np.random.Generator, picture: Picture) -> None:
    """Grey strokes and blobs behind everything, all in one part of the image."""
    width, height = picture.width / painter.unit, picture.height / painter.unit
    middle = rng.uniform(0.1, 0.9, size=2) * (width, height)
    for _ in range(int(rng.integers(0, 12))):
        x, y = middle + rng.normal(scale=45.0, size=2)
        dx, dy = rng.uniform(-22, 22, size=2)
        level = int(rng.integers(50, 225))
        grey = (level, level, level)
        if rng.random() < 0.6:
            painter.line(((x, y), (x + dx, y + dy)), grey, float(rng.uniform(0.8, 2.5)))
        else:
            painter.ellipse((x, y, x + 2 + abs(dx) / 4, y + 2 + abs(dy) / 4), grey)


def _draw_sign(painter: Painter, sign: Sign) -> None:
    plate, ink = _STYLES[sign.style]
    width, tall = sign.size
    box = (sign.x, sign.y, sign.x + width, sign.y + tall)
    with painter.rotated(box, sign.rotation_deg) as layer:
        layer.rectangle(box, fill=plate, outline=ink)
        corner = (sign.x + sign.margin, sign.y + sign.margin)
        _write(layer, sign.text, corner, sign.advance, sign.height, ink, owner=0)


def _write(
    painter: Painter, text: str, corner: tuple[float, float], advance: float, height: float,
    ink: Colour, owner: int,
) -> None:  # fmt: skip
    """Glyphs in equal cells."""
    for index, glyph in enumerate(text):
        left, top = corner[0] + index * advance, corner[1]
        labels = Labels(class_id=glyph_class(glyph), place=index + 1, owner=owner)
        painter.glyph(glyph, (left, top, left + advance, top + height), ink, labels)


def _draw_object(painter: Painter, item: SceneObject, rng: np.random.Generator) -> None:
    jitter = rng.integers(-18, 19, size=3)
    red, green, blue = np.clip(np.add(_COLOUR_VALUES[item.colour], jitter), 0, 255).tolist()
    labels = Labels(class_id=1 + item.class_id)
    centre, fill = (item.x, item.y), (red, green, blue)
    painter.shape(SHAPES[item.shape], centre, item.diameter, item.rotation_deg, fill, labels)


def _draw_form(painter: Painter, form: Form) -> None:
    plate, ink = _STYLES[form.style]
    right, bottom = form.x + form.width, form.y + form.tall
    painter.rectangle((form.x, form.y, right, bottom), fill=plate, outline=ink)
    for number, line in enumerate(form.lines):
        top = form.y + 5.0 + number * form.pitch
        left, base = form.x + 6.0, top + form.height
        labels = Labels(class_id=FIRST_KEY + line.key)
        key_box = (left, base - 14.0, left + form.key_width, base)
        painter.word(f"{KEYS[line.key]}:", key_box, ink, labels)
        corner = (left + form.key_width + 4.0, top)
        owner = key_owner(line.key)
        _write(painter, line.value, corner, form.advance, form.height, ink, owner)
        if form.has_rules and number:
            painter.line(((form.x + 3, top - 2), (right - 3, top - 2)), ink, 0.5)


def _draw_chart(painter: Painter, chart: Chart) -> None:
    panel, ink = _STYLES[chart.style]
    width, tall = chart.size
    painter.rectangle((chart.x, chart.y, chart.x + width, chart.y + tall), panel, outline=ink)
    base = chart.y + 22.0 + chart.plot_height
    left = chart.x + width - 6.0 - chart.pitch * len(chart.bars)
    if chart.kind == "axis":
        _draw_axis(painter, chart, base, left, ink)
    tops = [base - bar.value / 100 * chart.plot_height for bar in chart.bars]
    middles = [left + (i + 0.5) * chart.pitch for i in range(len(chart.bars))]
    if chart.kind == "line":
        painter.line(list(zip(middles, tops, strict=True)), _BAR_COLOURS[chart.colours[0]], 2.0)
    for number, bar in enumerate(chart.bars):
        colour = _BAR_COLOURS[chart.colours[number]]
        _draw_bar(painter, chart, number, (middles[number], tops[number], base), colour, ink)
        _label_bar(painter, chart, bar.label, (middles[number], base + 2.0), ink)
    painter.line(((left, base), (chart.x + width - 4.0, base)), ink, 1.0)


def _draw_bar(
    painter: Painter, chart: Chart, number: int, at: tuple[float, float, float],
    colour: Colour, ink: Colour,
) -> None:  # fmt: skip
    """A bar or a point at (middle, top, base), with its value above it unless an axis tells."""
    bar, (middle, top, base) = chart.bars[number], at
    owner = letter_owner(bar.label)
    labels = Labels(class_id=BAR, owner=owner, level=max(1, round(bar.value / 5)))
    if chart.kind == "line":
        painter.ellipse((middle - 4, top - 4, middle + 4, top + 4), colour, labels)
    else:
        painter.rectangle((middle - 8, top, middle + 8, base), colour, ink, labels)
    if chart.kind != "axis":
        text, height = str(bar.value), chart.advance * 1.2
        lift = 6.0 if chart.kind == "line" else 1.0
        corner = (middle - chart.advance * len(text) / 2, top - lift - height)
        _write(painter, text, corner, chart.advance, height, ink, owner)


def _label_bar(
    painter: Painter, chart: Chart, label: str, at: tuple[float, float], ink: Colour
) -> None:
    left, height = at[0] - chart.advance / 2, chart.advance * 1.2
    labels = Labels(class_id=glyph_class(label), owner=letter_owner(label))
    painter.glyph(label, (left, at[1], left + chart.advance, at[1] + height), ink, labels)


def _draw_axis(painter: Painter, chart: Chart, base: float, left: float, ink: Colour) -> None:
    """Lines at every 25 and numbers at every 50."""
    right, grey = chart.x + chart.size[0] - 4.0, (150, 150, 150)
    for value in (25, 50, 75, 100):
        y = base - value / 100 * chart.plot_height
        painter.line(((left, y), (right, y)), grey, 0.6)
        if value % 50 == 0:
            box = (chart.x + 2.0, y - 5.0, left - 1.0, y + 5.0)
            painter.word(str(value), box, ink, Labels(class_id=SMALL_TEXT))


def _photograph(image: Image.Image, rng: np.random.Generator, unit: float) -> Image.Image:
    """What a camera and a codec do: blur, less contrast, noise, JPEG blocks."""
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.2, 0.7)) * unit))
    if rng.random() < 0.5:
        contrast, brightness = rng.uniform(0.65, 1.0), rng.uniform(-12, 12)
        offset = 128 * (1 - contrast) + brightness
        image = image.point([int(min(255, max(0, v * contrast + offset))) for v in range(256)] * 3)
    if rng.random() < 0.5:
        image = _add_noise(image, rng, int(rng.integers(4, 22)))
    if rng.random() < 0.5:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(45, 90)))
        image = Image.open(file).convert("RGB")
    return image


def _add_noise(image: Image.Image, rng: np.random.Generator, amplitude: int) -> Image.Image:
    """Even noise of -amplitude to amplitude, one tile repeated."""
    pixels = np.asarray(image).astype(np.int16)
    tile = rng.integers(-amplitude, amplitude + 1, size=(128, 128, 3), dtype=np.int16)
    height, width = pixels.shape[:2]
    noise = np.tile(tile, (height // 128 + 1, width // 128 + 1, 1))[:height, :width]
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
