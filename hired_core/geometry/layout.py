"""Where every visual token of every partition lies: in the image, in the padding, in the sequence.

Geometry only, no pixels and no model. Shape letters: P partitions of one image (the full-image
first, then sub-images in raster order, whatever their order in the sequence), N visual tokens per
partition. A visual token is r x r patches of the vision tower; most often r is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from hired_core.geometry.canvas import CanvasFit, Size, select_best_resolution
from hired_core.geometry.marks import Marks
from hired_core.geometry.stitching import (
    Cell,
    centre,
    full_image_centre,
    place_of,
    shrunk_grid,
    squared_tokens,
    sub_image_of,
    valid_tokens,
)

__all__ = ["PartitionLayout"]


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
        pads_dense: whether the unmodified model sees the tokens of padding as well.
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
    pads_dense: bool = False

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
        if self.pads_dense:
            return self.valid.numel()
        if self.shrunk is None:
            return self.num_valid
        return self.num_tokens + self.shrunk[0] * self.shrunk[1]

    def unpadded(self) -> tuple[Size, Size]:
        """((top, left), (rows, cols)) of the valid part of the stitched grid, in tokens."""
        at = self.place[1:][self.valid[1:]] - self.num_tokens
        row, col = at // self.stitched[1], at % self.stitched[1]
        top, left = int(row.min()), int(col.min())
        return (top, left), (int(row.max()) + 1 - top, int(col.max()) + 1 - left)

    def dense(self) -> PartitionLayout:
        """Itself, but that tokens of padding are valid where the unmodified model sees them."""
        if not self.pads_dense:
            return self
        return replace(self, valid=torch.ones_like(self.valid), pads_dense=False)

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

    @classmethod
    def squared(cls, image_size: Size, cell: Cell) -> PartitionLayout:
        """The same of an image centred in a square of its longer side, padding around it."""
        return _squared(image_size, cell)


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
def _squared(image_size: Size, cell: Cell) -> PartitionLayout:
    valid, centres = squared_tokens(image_size, cell)
    whole = _single(cell.side)
    return replace(whole, valid=valid[None], centre=centres[None], pads_dense=not valid.all())


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
        valid=valid_tokens(image_size, emitted, side),
        sub_image_of=sub_image_of(fit, (rows, cols), cell),
        place=place_of(emitted, side),
        centre=torch.cat([full_image_centre(cell)[None], centre(fit, (rows, cols), cell)]),
        shrunk=shrunk_grid(image_size, emitted, side, most_sub_images),
    )
