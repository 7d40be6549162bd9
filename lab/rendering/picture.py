"""What one picture shows, as plain data; lengths in canvas pixels, see `geometry`."""

from __future__ import annotations

from dataclasses import dataclass

from lab.rendering.geometry import content_size
from lab.rendering.vocabulary import COLOURS, SHAPES

__all__ = ["Bar", "Chart", "Form", "FormLine", "Picture", "SceneObject", "Sign", "class_name"]


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
    """A plate with 4-8 glyphs in equal cells of `advance` by `height`; `x`, `y` is its corner."""

    text: str
    x: float
    y: float
    advance: float
    height: float
    margin: float
    style: int
    font: int
    rotation_deg: float

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the plate before rotation."""
        return self.advance * len(self.text) + 2 * self.margin, self.height + 2 * self.margin


@dataclass(frozen=True, kw_only=True)
class FormLine:
    """A key, drawn small, and its value; `key` indexes the vocabulary."""

    key: int
    value: str


@dataclass(frozen=True, kw_only=True)
class Form:
    """A card with a key and a value on each line; `x`, `y` is its corner.

    Keys take `key_width`, glyphs of values are cells of `advance` by `height`, lines lie `pitch`
    apart.
    """

    lines: tuple[FormLine, ...]
    x: float
    y: float
    width: float
    key_width: float
    advance: float
    height: float
    pitch: float
    style: int
    font: int
    has_rules: bool

    @property
    def tall(self) -> float:
        """Height of the card."""
        return self.pitch * len(self.lines) + 10.0


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One value of a chart, 5-99, over its label, one letter."""

    label: str
    value: int


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A panel of bars or of points on a line; `x`, `y` is its corner.

    `kind` is "bars" or "line", both with their values written out, or "axis": bars without
    values, to be read against lines at every 25. Heights are to the scale of 0 to 100.
    """

    kind: str
    bars: tuple[Bar, ...]
    x: float
    y: float
    pitch: float
    plot_height: float
    advance: float
    colours: tuple[int, ...]
    style: int
    font: int

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the panel."""
        left = 24.0 if self.kind == "axis" else 6.0
        return left + self.pitch * len(self.bars) + 6.0, self.plot_height + 46.0


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What one image shows; `objects` are in caption order, `signs` from top to bottom.

    `width` and `height` are pixels of the image file. A picture has objects and signs, or a form,
    or a chart.
    """

    seed: int
    split: str
    width: int
    height: int
    objects: tuple[SceneObject, ...] = ()
    signs: tuple[Sign, ...] = ()
    form: Form | None = None
    chart: Chart | None = None

    @property
    def kind(self) -> str:
        """ "scene", "form" or "chart"."""
        return "form" if self.form else "chart" if self.chart else "scene"

    @property
    def pixels_per_unit(self) -> float:
        """Pixels of the image file per canvas pixel."""
        return self.width / content_size(self.width, self.height)[0]


def class_name(class_id: int) -> str:
    """Words of a coloured shape, "red circle"."""
    return f"{tuple(COLOURS)[class_id // len(SHAPES)]} {SHAPES[class_id % len(SHAPES)]}"
