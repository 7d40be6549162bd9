"""Sub-images on their canvas: the grid they are cut by, and which tokens of it lie in the image.

Pure functions. Shape letters: N visual tokens per partition, `side` of them along one side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hired_core.geometry.canvas import SHRINK_ABOVE, CanvasFit, Size

__all__ = [
    "Cell",
    "centre",
    "cut_grid",
    "full_image_centre",
    "place_of",
    "shrunk_grid",
    "squared_tokens",
    "sub_image_of",
    "unpadded_range",
    "valid_tokens",
]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A square partition of `size` pixels and its tokens of `token` pixels each.

    Where these do not fill it, what is left at the right and below belongs to no token.
    """

    size: int
    token: int

    @property
    def side(self) -> int:
        """Tokens along a side."""
        return self.size // self.token


def unpadded_range(image_size: Size, stitched: Size) -> tuple[range, range]:
    """Rows and columns of the stitched patch grid that LLaVA-Next keeps after unpadding.

    The model's own rule, in patches, with its rounding to 7 digits before truncation. It is not
    always the set of patches that the padded pixels would suggest, but it is what the model sees.
    """
    (height, width), (rows, cols) = image_size, stitched
    if width / height > cols / rows:
        pad = (rows - int(round(height * (cols / width), 7))) // 2
        return range(pad, rows - pad), range(cols)
    pad = (cols - int(round(width * (rows / height), 7))) // 2
    return range(rows), range(pad, cols - pad)


def shrunk_grid(image_size: Size, grid: Size, side: int, most: int | None) -> Size | None:
    """LLaVA-OneVision's rule, its divisions of floats included."""
    if most is None:
        return None
    row_range, col_range = unpadded_range(image_size, (grid[0] * side, grid[1] * side))
    rows, cols = len(row_range), len(col_range)
    ratio = math.sqrt(rows * cols / (most * side**2))
    return (int(rows // ratio), int(cols // ratio)) if ratio > SHRINK_ABOVE else None


def valid_tokens(image_size: Size, grid: Size, side: int) -> Tensor:
    stitched = (grid[0] * side, grid[1] * side)
    row_range, col_range = unpadded_range(image_size, stitched)
    kept = torch.zeros(stitched, dtype=torch.bool)
    kept[row_range.start : row_range.stop, col_range.start : col_range.stop] = True
    full = torch.ones(1, side * side, dtype=torch.bool)
    return torch.cat([full, cut_grid(kept, grid, side)])


def place_of(grid: Size, side: int) -> Tensor:
    num_patches = side * side
    count = grid[0] * grid[1] * num_patches
    raster = torch.arange(count).view(grid[0] * side, grid[1] * side) + num_patches
    return torch.cat([torch.arange(num_patches)[None], cut_grid(raster, grid, side)])


def full_image_centre(cell: Cell) -> Tensor:
    """float32 [N, 2]: of the full-image, as fractions of it."""
    along = (torch.arange(cell.side) + 0.5) * cell.token / cell.size
    return torch.cartesian_prod(along, along)


def centre(fit: CanvasFit, grid: Size, cell: Cell) -> Tensor:
    """float32 [rows*cols, side*side, 2]: of sub-images, through the canvas they are cut from."""
    before, inside = (fit.top, fit.left), (torch.arange(cell.side) + 0.5) * cell.token
    y, x = (
        ((torch.arange(grid[axis])[:, None] * cell.size + inside).flatten() - before[axis])
        / fit.content[axis]
        for axis in (0, 1)
    )
    rows, cols = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([cut_grid(rows, grid, cell.side), cut_grid(cols, grid, cell.side)], dim=-1)


def squared_tokens(image_size: Size, cell: Cell) -> tuple[Tensor, Tensor]:
    """Of an image centred in a square of its longer side, and that resized to `cell`.

    Returns bool [N], the tokens that show any of the image, told in integers, and float32 [N, 2],
    their centres as fractions of it; in padding those are outside 0 to 1.
    """
    longest, index = max(image_size), torch.arange(cell.side)
    fit = CanvasFit.of(image_size, (longest, longest))
    # In units of 1 / (2 size) of the square's pixels, so that all edges and centres are whole.
    edges, token = 2 * cell.size, 2 * cell.token * longest
    shown, middle = [], []
    for before, length in zip((fit.top, fit.left), image_size, strict=True):
        first, last = index * token, (index + 1) * token
        shown.append((first < (before + length) * edges) & (last > before * edges))
        centre_at = (2 * index + 1) * cell.token * longest - before * edges
        middle.append(centre_at.double() / (length * edges))
    (rows, cols), (y, x) = shown, middle
    valid = (rows[:, None] & cols).flatten()
    return valid, torch.cartesian_prod(y, x).float()


def cut_grid(stitched: Tensor, grid: Size, side: int) -> Tensor:
    """[rows*side, cols*side] -> [rows*cols, side*side], sub-images and patches in raster order."""
    cells = stitched.view(grid[0], side, grid[1], side).transpose(1, 2)
    return cells.reshape(grid[0] * grid[1], side * side)


def sub_image_of(fit: CanvasFit, grid: Size, cell: Cell) -> Tensor:
    """int64 [N]: the sub-image that each full-image token's centre falls in."""
    row = _cell_along(fit.top, fit.content[0], fit.canvas[0], grid[0], cell)
    col = _cell_along(fit.left, fit.content[1], fit.canvas[1], grid[1], cell)
    return (row[:, None] * grid[1] + col[None, :]).flatten()


def _cell_along(before: int, content: int, canvas: int, cells: int, cell: Cell) -> Tensor:
    """Grid cell of each full-image token's centre along one axis; exact, in integers.

    Token i's centre lies at (i + 1/2) token / size of the content, hence on the canvas at
    `before + content * (2 i + 1) * token / (2 size)` pixels.
    """
    size = cell.size
    centre = 2 * size * before + content * (2 * torch.arange(cell.side) + 1) * cell.token
    return (centre * cells).div(2 * size * canvas, rounding_mode="floor")
