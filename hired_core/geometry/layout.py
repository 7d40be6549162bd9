"""Where every visual token of every partition lies: in the image, in the padding, in the sequence.

Geometry only, no pixels and no model. Shape letters: P partitions of one image (the full-image
first, then sub-images in raster order, whatever their order in the sequence), N visual tokens per
partition, B images. A visual token is r x r patches of the vision tower; most often r is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hired_core.geometry.canvas import (
    SHRINK_ABOVE,
    CanvasFit,
    LayoutError,
    Size,
    select_best_resolution,
)
from hired_core.geometry.marks import Marks
from hired_core.transfer import upload

__all__ = [
    "CanvasFit",
    "LayoutBatch",
    "LayoutError",
    "PartitionLayout",
    "Size",
    "select_best_resolution",
    "unpadded_range",
]


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


@dataclass(frozen=True, kw_only=True, eq=False)
class PartitionLayout:
    """The partitions of one image under AnyRes.

    Attributes:
        grid: (rows, cols) of sub-images; (0, 0) where there are none.
        side: tokens along one side of a partition; `num_tokens` is its square.
        stitched: (rows, cols) of the stitched sub-image token grid, as it is emitted; (0, 0) where
            rows end without a mark.
        valid: bool [P, N]; False where a token lies in padding. The full-image is always True.
        sub_image_of: int64 [N]; for each full-image token, the sub-image (0..P-2) its centre falls
            in. The full-image is squeezed without padding, sub-images may come from a centred,
            padded canvas, so this goes through that transform. Without a full-image int64 [P*N]:
            the cell of each place itself, -1 in padding.
        place: int64 [P, N]; a permutation of 0..P*N-1, the order of the sequence, padding included.
            Of AnyRes: full-image tokens in raster order, then sub-image tokens in raster order of
            the stitched grid.
        centre: float32 [P, N, 2]; (y, x) of each token's centre as fractions of the image, or of
            what one square shows of it; outside 0 to 1 in padding.
        shrunk: (rows, cols) to which the unmodified model resizes the valid part of the stitched
            grid; None: it does not.
        marks: embeddings of the prompt that stand among the tokens, beside row ends; None: none.
        has_full_image: whether the first partition is the full-image; else it has no tokens, and
            the others are cells of one image that is encoded as a whole.
    """

    grid: Size
    side: int
    stitched: Size
    valid: Tensor
    sub_image_of: Tensor
    place: Tensor
    centre: Tensor
    shrunk: Size | None = None
    marks: Marks | None = None
    has_full_image: bool = True

    @property
    def num_partitions(self) -> int:
        return self.valid.shape[0]

    @property
    def num_tokens(self) -> int:
        return self.valid.shape[1]

    @property
    def num_valid(self) -> int:
        """Visual tokens that may be kept of this image."""
        return int(self.valid.sum())

    @property
    def num_nominal(self) -> int:
        """What a fraction of this image's own count is taken of.

        P*N; of cells, or where the unmodified model resizes tokens, those that it sees.
        """
        whole = self.has_full_image and self.shrunk is None
        return self.valid.numel() if whole else self.num_dense

    @property
    def num_dense(self) -> int:
        """Visual tokens of the unmodified model for this image, row ends and marks not counted."""
        if self.shrunk is None:
            return self.num_valid
        return self.num_tokens + self.shrunk[0] * self.shrunk[1]

    def unpadded(self) -> tuple[Size, Size]:
        """((top, left), (rows, cols)) of the valid part of the stitched grid, in tokens."""
        at = self.place[1:][self.valid[1:]] - self.num_tokens
        row, col = at // self.stitched[1], at % self.stitched[1]
        top, left = int(row.min()), int(col.min())
        return (top, left), (int(row.max()) + 1 - top, int(col.max()) + 1 - left)

    def resized(self) -> PartitionLayout:
        """Where the rows of the unmodified model stand, of an image whose grid it resizes.

        For sequences: tokens of the full-image, then those of the resized grid; what partition a
        row is of has no meaning.
        """
        assert self.shrunk is not None, "the grid is not resized"
        count, parts = self.num_dense, -(-self.num_dense // self.num_tokens)
        place = torch.arange(parts * self.num_tokens).view(parts, self.num_tokens)
        return replace(self, stitched=self.shrunk, valid=place < count, place=place, shrunk=None)

    @classmethod
    def from_image_size(
        cls,
        height: int,
        width: int,
        *,
        pinpoints: Sequence[Sequence[int]],
        partition_size: int,
        patch_size: int,
        merge: int = 1,
        most_sub_images: int | None = None,
        transposed_grid: bool = False,
    ) -> PartitionLayout:
        """Layout of an image of `height` x `width` pixels.

        Args:
            pinpoints: the resolutions on offer, (height, width) in pixels.
            partition_size: side of a partition in pixels.
            patch_size: side of a patch in pixels.
            merge: patches along a side of a visual token.
            most_sub_images: see `AnyRes`.
            transposed_grid: stitch and unpad as if the grid were (cols, rows), as the published
                HiRED code and transformers before PR 32314 did. Only to reproduce their numbers.

        Raises:
            LayoutError: if the image is too elongated for every grid.
            ValueError: if a size is not positive.
        """
        if min(height, width, partition_size, patch_size) < 1:
            raise ValueError(f"sizes must be positive, got an image of {height} x {width}")
        points = tuple((int(h), int(w)) for h, w in pinpoints)
        cell = Cell(size=partition_size, token=patch_size * merge)
        return _build((height, width), points, cell, most_sub_images, transposed_grid)

    @classmethod
    def tiles(cls, grid: Size, cell: Cell, marks: Marks | None = None) -> PartitionLayout:
        """Of an image squeezed on `grid` tiles without padding, one after the other in raster
        order, the full-image behind them in the sequence; of one tile, it is the full-image."""
        rows, cols = grid
        count, tiles = cell.side**2, rows * cols if rows * cols > 1 else 0
        canvas = (rows * cell.size, cols * cell.size)
        fit = CanvasFit(canvas=canvas, content=canvas, top=0, left=0)
        places = torch.arange((1 + tiles) * count).view(1 + tiles, count).roll(1, 0)
        own = [full_image_centre(cell)[None], *([centre(fit, grid, cell)] if tiles else [])]
        return cls(
            grid=grid if tiles else (0, 0),
            side=cell.side,
            stitched=(0, 0),
            valid=torch.ones(1 + tiles, count, dtype=torch.bool),
            sub_image_of=sub_image_of(fit, grid, cell),
            place=places,
            centre=torch.cat(own),
            marks=marks,
        )

    @classmethod
    def single(cls, side: int) -> PartitionLayout:
        """Of one partition, all of it image, in raster order; there is no sub-image."""
        return _single(side)


@lru_cache(maxsize=16)
def _single(side: int) -> PartitionLayout:
    count = side * side
    return PartitionLayout(
        grid=(0, 0),
        side=side,
        stitched=(0, 0),
        valid=torch.ones(1, count, dtype=torch.bool),
        sub_image_of=torch.zeros(count, dtype=torch.int64),
        place=torch.arange(count)[None],
        centre=full_image_centre(Cell(size=side, token=1))[None],
    )


@lru_cache(maxsize=4096)
def _build(
    image_size: Size,
    pinpoints: tuple[Size, ...],
    cell: Cell,
    most_sub_images: int | None,
    transposed: bool,
) -> PartitionLayout:
    canvas = select_best_resolution(image_size, pinpoints)
    rows, cols = canvas[0] // cell.size, canvas[1] // cell.size
    side = cell.side
    emitted = (cols, rows) if transposed else (rows, cols)
    fit = CanvasFit.of(image_size, canvas)
    return PartitionLayout(
        grid=(rows, cols),
        side=side,
        stitched=(emitted[0] * side, emitted[1] * side),
        valid=_valid(image_size, emitted, side),
        sub_image_of=sub_image_of(fit, (rows, cols), cell),
        place=_place(emitted, side),
        centre=torch.cat([full_image_centre(cell)[None], centre(fit, (rows, cols), cell)]),
        shrunk=_shrunk(image_size, emitted, side, most_sub_images),
    )


def _shrunk(image_size: Size, grid: Size, side: int, most: int | None) -> Size | None:
    """LLaVA-OneVision's rule, its divisions of floats included."""
    if most is None:
        return None
    row_range, col_range = unpadded_range(image_size, (grid[0] * side, grid[1] * side))
    rows, cols = len(row_range), len(col_range)
    ratio = math.sqrt(rows * cols / (most * side**2))
    return (int(rows // ratio), int(cols // ratio)) if ratio > SHRINK_ABOVE else None


def _valid(image_size: Size, grid: Size, side: int) -> Tensor:
    stitched = (grid[0] * side, grid[1] * side)
    row_range, col_range = unpadded_range(image_size, stitched)
    kept = torch.zeros(stitched, dtype=torch.bool)
    kept[row_range.start : row_range.stop, col_range.start : col_range.stop] = True
    full = torch.ones(1, side * side, dtype=torch.bool)
    return torch.cat([full, cut_grid(kept, grid, side)])


def _place(grid: Size, side: int) -> Tensor:
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


@dataclass(frozen=True, kw_only=True, eq=False)
class LayoutBatch:
    """Layouts of B images with different partition counts, padded to the largest P.

    Attributes:
        valid: bool [B, P, N]; False also for partitions an image does not have.
        sub_image_of: int64 [B, N], or [B, P*N] without a full-image.
        place: int64 [B, P, N]; absent partitions hold positions after all others.
        centre: float32 [B, P, N, 2]; zeros of absent partitions.
        num_partitions: int64 [B].
    """

    valid: Tensor
    sub_image_of: Tensor
    place: Tensor
    centre: Tensor
    num_partitions: Tensor

    @classmethod
    def stack(
        cls, layouts: Sequence[PartitionLayout], *, device: torch.device | str = "cpu"
    ) -> LayoutBatch:
        """Raises `ValueError` on an empty list or layouts of different token counts."""
        if len({layout.num_tokens for layout in layouts}) != 1:
            raise ValueError("a batch needs at least one layout, all with the same token count")
        target = torch.device(device)
        most = max(layout.num_partitions for layout in layouts)
        count = layouts[0].num_tokens
        absent = torch.arange(most * count).view(most, count)
        valid = torch.zeros(len(layouts), most, count, dtype=torch.bool)
        place = absent.expand(len(layouts), -1, -1).clone()
        centre = torch.zeros(len(layouts), most, count, 2)
        for row, layout in enumerate(layouts):
            valid[row, : layout.num_partitions] = layout.valid
            place[row, : layout.num_partitions] = layout.place
            centre[row, : layout.num_partitions] = layout.centre
        return cls(
            valid=upload(valid, target),
            sub_image_of=upload(_stacked([lay.sub_image_of for lay in layouts]), target),
            place=upload(place, target),
            centre=upload(centre, target),
            num_partitions=upload(torch.tensor([lay.num_partitions for lay in layouts]), target),
        )

    @property
    def present(self) -> Tensor:
        """bool [B, P]: the partitions each image has."""
        index = torch.arange(self.valid.shape[1], device=self.valid.device)
        return index < self.num_partitions[:, None]


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """[B, longest], -1 behind shorter ones."""
    return pad_sequence(list(rows), batch_first=True, padding_value=-1)
