"""How the visual tokens of a caption lie on its image, as far as the output tells.

A caption has its budget for each partition, the full-image first; places of single tokens are not
stored, nor is the grid of the sub-images. The grid follows from their number and from the image's
size, by the rule by which images are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hired_core.geometry.canvas import CanvasFit, select_best_resolution
from pipeline.rows.row import Row

__all__ = ["BudgetMap", "Cell", "budget_map"]

_UNIT: Final = 336
"""Side of a partition where grids are compared; it counts for smaller images alone."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One sub-image, in units of which the canvas' width is 1000."""

    x: float
    y: float
    side: float
    budget: int
    share: float
    """Of the largest budget of all partitions, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class BudgetMap:
    """A canvas 1000 wide with the image on it, and the sub-images that it is cut into.

    Attributes:
        content: x, y, width, height of the image on the canvas; the rest is padding.
        full, full_share: budget of the full-image.
    """

    height: float
    content: tuple[float, float, float, float]
    cells: tuple[Cell, ...]
    full: int
    full_share: float
    kept: int
    dense: int


def budget_map(caption: Row) -> BudgetMap | None:
    """None where there are no sub-images, or the caption does not tell what is needed."""
    budgets = [int(budget or 0) for budget in caption.get("partition_budgets") or []]
    width, height = caption.get("width") or 0, caption.get("height") or 0
    if len(budgets) < 2 or caption.get("num_partitions") != len(budgets) or min(width, height) < 1:
        return None
    rows, cols = grid_of(len(budgets) - 1, (height, width))
    fit = CanvasFit.of((height, width), (rows * _UNIT, cols * _UNIT))
    scale = 1000 / (cols * _UNIT)
    (tall, wide), most = fit.content, max(1, *budgets)
    return BudgetMap(
        height=1000 * rows / cols,
        content=(fit.left * scale, fit.top * scale, wide * scale, tall * scale),
        cells=_cells(budgets[1:], cols, most),
        full=budgets[0],
        full_share=budgets[0] / most,
        kept=int(caption.get("visual_tokens_kept") or sum(budgets)),
        dense=int(caption.get("visual_tokens_dense") or 0),
    )


def grid_of(count: int, image_size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of `count` sub-images, for an image of (height, width): of all that have so
    many, the one that keeps most of the image."""
    grids = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    canvases = [(rows * _UNIT, cols * _UNIT) for rows, cols in grids]
    try:
        height, width = select_best_resolution(image_size, canvases)
    except ValueError:  # So elongated that it shrinks to nothing on each of them.
        return grids[-1] if image_size[0] > image_size[1] else grids[0]
    return height // _UNIT, width // _UNIT


def _cells(budgets: Sequence[int], cols: int, most: int) -> tuple[Cell, ...]:
    side = 1000 / cols
    places = (divmod(index, cols) for index in range(len(budgets)))
    return tuple(
        Cell(x=col * side, y=row * side, side=side, budget=budget, share=budget / most)
        for (row, col), budget in zip(places, budgets, strict=True)
    )
