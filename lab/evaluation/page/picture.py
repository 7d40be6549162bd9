"""One picture of the whole idea: an image, its partitions, what is kept of them, the caption.

Lengths are pixels of the PNG, which is twice as large as it is meant to be shown. It lies on a card
of its own, so that it reads on light and on dark pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hired_core.geometry.base import Pixels
from lab.evaluation.page.rows import levels_of, tinted
from lab.evaluation.page.trace import Bools, ImageTrace, Selection

__all__ = ["DIM", "DIMMED", "draw_picture", "paint_kept"]

DIM: Final = (12, 17, 28)
"""Dropped patches are painted over with this ..."""
DIMMED: Final = 0.76
"""... so densely; as in style.css."""

_WIDTH: Final = 1720
_TALLEST: Final = 620
_MARGIN, _GAP, _SMALL, _LABEL = 52, 64, 10, 34
_CARD, _RULE, _TEXT, _FAINT = "#f8fafc", "#cfd7e0", "#1b2430", "#566272"
_EDGE, _PADDING = (255, 210, 63), (226, 231, 238)

Point = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """A partition's side on the picture, and the (width, height) of the three panels."""

    cell: int
    image: Point
    partitions: Point

    @property
    def width(self) -> int:
        """Of the card."""
        return 2 * _MARGIN + self.image[0] + 2 * (_GAP + self.partitions[0])


def draw_picture(
    data: Image.Image, trace: ImageTrace, selection: Selection, *, prompt: str, answer: str
) -> Image.Image:
    """RGBA: the image, its partitions, those with `selection` drawn on them, and what is said.

    Raises:
        ValueError: if the patches are too many to be a pixel each.
    """
    sizes = _sizes(trace)
    words = _wrap(answer, sizes.width - 2 * _MARGIN, 36)
    top = _MARGIN + 84
    below = top + sizes.partitions[1] + 44
    card = _card(sizes.width, below + 44 + 46 * len(words) + _MARGIN - 12)
    draw = ImageDraw.Draw(card)
    left = _MARGIN
    image = data.resize(sizes.image, Image.Resampling.LANCZOS)
    _title(draw, (left, _MARGIN), "the image", f"{trace.size[1]} x {trace.size[0]} pixels")
    card.paste(image, (left, top + _LABEL))
    left += sizes.image[0] + _GAP
    count, kept = len(trace.shown), selection.num_kept
    _title(draw, (left, _MARGIN), f"{count} partitions", f"{selection.num_dense} visual tokens")
    _panel(card, (left, top), trace, sizes.cell, None)
    left += sizes.partitions[0] + _GAP
    budget = f"{selection.settings.method}, budget {selection.settings.token_budget:g}"
    what = "visual tokens kept" if selection.weights is None else "merged rows"
    _title(draw, (left, _MARGIN), f"{kept} {what}", budget)
    _panel(card, (left, top), trace, sizes.cell, selection)
    draw.text((_MARGIN, below), prompt, font=_font(28), fill=_FAINT)
    for line, text in enumerate(words):
        draw.text((_MARGIN, below + 44 + 46 * line), text, font=_font(36), fill=_TEXT)
    return card


def _card(width: int, height: int) -> Image.Image:
    card = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    box = (0, 0, width - 1, height - 1)
    ImageDraw.Draw(card).rounded_rectangle(box, 28, fill=_CARD, outline=_RULE, width=2)
    return card


def _sizes(trace: ImageTrace) -> _Sizes:
    """As large as the width allows, but no taller than `_TALLEST`; whole pixels per patch."""
    (rows, cols), (height, width) = trace.grid, trace.size
    free = _WIDTH - 2 * _MARGIN - 2 * _GAP - 2 * (_GAP // 2 + (cols - 1) * _SMALL)
    # The image is as high as the sub-images together, which cannot make it wider than they are.
    shown = min(rows * width / height, cols)
    cell = int(min(free / (2 * (1 + cols) + shown), _TALLEST / rows))
    cell -= cell % trace.side
    if cell == 0:
        raise ValueError(f"no room for {trace.side} patches along each of {rows} x {cols} sides")
    image = (int(cell * shown), int(cell * shown * height / width))
    wide = cell + _GAP // 2 + cols * (cell + _SMALL) - _SMALL
    tall = rows * (_LABEL + cell + _SMALL) - _SMALL
    return _Sizes(cell=cell, image=image, partitions=(wide, tall))


def _panel(
    card: Image.Image, corner: Point, trace: ImageTrace, cell: int, selection: Selection | None
) -> None:
    """The full-image, beside it the sub-images where they lie; numbered, or with what is kept."""
    draw = ImageDraw.Draw(card)
    for p, pixels in enumerate(trace.shown):
        left, top = _place(corner, p, trace.grid[1], cell)
        valid = trace.valid[p]
        kind = "sub-image" if trace.has_full_image else "cell"
        first = "full-image" if trace.has_full_image else "no full-image"
        names = [first, ""] if p == 0 else [f"{kind} {p}", f"{p}"]
        if selection is not None:
            merged = selection.weights is not None
            kept = selection.budgets[p] if merged else selection.keep[p].sum()
            room = valid.sum()
            names = [f"{kept} of {room}", f"{kept}"]
        name = next((text for text in names if _font(24).getlength(text) <= cell), names[-1])
        draw.text((left, top), name, font=_font(24), fill=_FAINT)
        keep = valid if selection is None else selection.keep[p]
        outlined = selection is not None and selection.weights is None
        shown = paint_kept(pixels, keep, valid, cell, outlined=outlined)
        if selection is not None and selection.weights is not None:
            shown = paint_rows(shown, levels_of(selection.weights), p, trace.side)
        card.paste(shown, (left, top + _LABEL))


def _place(corner: Point, p: int, cols: int, cell: int) -> Point:
    left, top = corner
    if p == 0:
        return corner
    row, col = divmod(p - 1, cols)
    left += cell + _GAP // 2 + col * (cell + _SMALL)
    return left, top + row * (_LABEL + cell + _SMALL)


def paint_kept(
    pixels: Pixels, keep: Bools, valid: Bools, size: int, *, outlined: bool = True
) -> Image.Image:
    """A partition, uint8 [3, S, S], at `size` pixels: dropped patches dimmed, padding blank.

    Args:
        size: a multiple of the partition's patches along a side.
    """
    side = round(len(keep) ** 0.5)
    step = size // side
    shown = Image.fromarray(pixels.transpose(1, 2, 0)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    dim = Image.blend(shown, Image.new("RGB", shown.size, DIM), DIMMED)
    shown = Image.composite(shown, dim, _enlarged(keep, side, step))
    shown.paste(_PADDING, mask=_enlarged(~valid, side, step))
    if outlined:
        _outline(ImageDraw.Draw(shown), keep.reshape(side, side), step)
    return shown


def paint_rows(shown: Image.Image, levels: list[list[int]], p: int, side: int) -> Image.Image:
    """Partition `p` under the colours of the merged rows that take of it."""
    return Image.fromarray(tinted(np.asarray(shown), levels, p * side * side, side))


def _enlarged(mask: Bools, side: int, step: int) -> Image.Image:
    square = mask.reshape(side, side).repeat(step, axis=0).repeat(step, axis=1)
    return Image.fromarray(square.astype(np.uint8) * 255)


def _outline(draw: ImageDraw.ImageDraw, keep: Bools, step: int) -> None:
    """Lines inside of kept patches, where the next patch is not kept."""
    around = np.pad(keep, 1)
    for row, col in np.argwhere(keep):
        left, top = int(col) * step, int(row) * step
        right, bottom = left + step - 1, top + step - 1
        if not around[row, col + 1]:
            draw.rectangle((left, top, right, top + 1), fill=_EDGE)
        if not around[row + 2, col + 1]:
            draw.rectangle((left, bottom - 1, right, bottom), fill=_EDGE)
        if not around[row + 1, col]:
            draw.rectangle((left, top, left + 1, bottom), fill=_EDGE)
        if not around[row + 1, col + 2]:
            draw.rectangle((right - 1, top, right, bottom), fill=_EDGE)


def _title(draw: ImageDraw.ImageDraw, corner: Point, title: str, note: str) -> None:
    draw.text(corner, title, font=_font(32), fill=_TEXT)
    draw.text((corner[0], corner[1] + 42), note, font=_font(26), fill=_FAINT)


def _wrap(text: str, width: int, size: int) -> list[str]:
    """Lines of whole words, none wider than `width` unless a word is."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _font(size).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font
