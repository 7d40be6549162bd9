"""What a family's geometry is: how an image is cut, and where its visual tokens lie.

Plain arithmetic and numpy until a layout is asked for: a process that only decodes and cuts starts
in a fraction of the time without torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from hired_core.geometry.canvas import Size

if TYPE_CHECKING:
    from hired_core.geometry.layout import PartitionLayout

Pixels = npt.NDArray[np.uint8]

Resample = Literal["bicubic", "lanczos"]


class Resize(Protocol):
    """An image, or pixels that came of it, in any size."""

    def __call__(self, size: Size | None, of: Pixels | None = None) -> Pixels:
        """uint8 [3, height, width] of the image, or of uint8 [3, height, width] `of`.

        Args:
            size: None: as many pixels as there are. Of an image that was decoded reduced those are
                fewer than its own.
        """
        ...


class Geometry(Protocol):
    """Frozen dataclasses of plain values, so that they travel as JSON and hash.

    Attributes:
        partition_size, patch_size: in pixels.
        merge: r, patches along a side of a visual token: r x r of them are one.
    """

    @property
    def partition_size(self) -> int: ...
    @property
    def patch_size(self) -> int: ...
    @property
    def merge(self) -> int: ...

    @property
    def num_patches(self) -> int:
        """Patches per partition: what the vision tower sees."""
        ...

    @property
    def num_tokens(self) -> int:
        """N, visual tokens per partition: what methods choose from."""
        ...

    @property
    def max_partitions(self) -> int:
        """The largest P of any image."""
        ...

    @property
    def nominal_tokens(self) -> int:
        """The most visual tokens that the unmodified model sees of any image: what a fractional
        token budget is taken of."""
        ...

    @property
    def resizes_tokens(self) -> bool:
        """Whether the unmodified model resizes the tokens of large images (`layout.shrunk`)."""
        ...

    @property
    def summary(self) -> str:
        """For people: what visual tokens are, and of how many pixels images are seen."""
        ...

    @property
    def piece_size(self) -> int:
        """Side, in pixels, of each of the squares that `cut` gives."""
        ...

    @property
    def max_pieces(self) -> int:
        """The most squares that `cut` gives."""
        ...

    @property
    def max_encoded(self) -> int:
        """The most tokens that the vision tower encodes for an image: patches, and CLS tokens."""
        ...

    @property
    def max_places(self) -> int:
        """P*N, padding included, that memory is planned for."""
        ...

    @property
    def max_side(self) -> int | None:
        """The most visual tokens along a side of an image, of which positions tell row and column.

        None: positions are places in the sequence.
        """
        ...

    def max_row_ends(self, *, transposed_grid: bool = False) -> int:
        """The most row ends that any image has; 0 where rows end without a mark."""
        ...

    def max_marks(self, num_kept: int) -> int:
        """The most other embeddings that stand among so many tokens (`PartitionLayout.marks`)."""
        ...

    @property
    def resample(self) -> Resample:
        """How an image is resized."""
        ...

    def check(self, size: Size) -> None:
        """Raises `LayoutError` for an image too elongated to be cut."""
        ...

    def needed_size(self, size: Size) -> Size:
        """The least (height, width) from which an image of `size` is cut without enlarging it.

        Raises:
            LayoutError: as `check`.
        """
        ...

    def cut(self, resize: Resize, size: Size) -> Pixels:
        """uint8 [P, 3, S, S] of an image of `size`, which `resize` gives in any size.

        Of a geometry whose images are encoded as a whole: all its patches, each a square.

        Raises:
            LayoutError: as `check`.
        """
        ...

    def layout(self, height: int, width: int, *, transposed_grid: bool = False) -> PartitionLayout:
        """Where the patches of an image of this many pixels lie.

        Raises:
            LayoutError: as `check`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class SquarePartitions:
    """What geometries of square partitions, all of one size, have in common; see `Geometry`."""

    partition_size: int
    patch_size: int
    merge: int = 1

    @property
    def side(self) -> int:
        """Visual tokens along a side of a partition."""
        return self.partition_size // self.patch_size // self.merge

    @property
    def num_patches(self) -> int:
        return (self.partition_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        return self.side**2

    @property
    def max_partitions(self) -> int:
        return 1

    @property
    def nominal_tokens(self) -> int:
        return self.max_partitions * self.num_tokens

    @property
    def summary(self) -> str:
        told, r = f"{self.num_patches} patches per partition", self.merge
        return told if r == 1 else f"{told}, {r} x {r} of them a visual token"

    @property
    def piece_size(self) -> int:
        return self.partition_size

    @property
    def max_pieces(self) -> int:
        return self.max_partitions

    @property
    def max_encoded(self) -> int:
        return self.max_partitions * (self.num_patches + 1)

    @property
    def max_places(self) -> int:
        return self.max_partitions * self.num_tokens

    @property
    def max_side(self) -> int | None:
        return None

    @property
    def resizes_tokens(self) -> bool:
        return False

    @property
    def resample(self) -> Resample:
        return "bicubic"

    def max_row_ends(self, *, transposed_grid: bool = False) -> int:
        return 0

    def max_marks(self, num_kept: int) -> int:
        return 0


def to_json(geometry: Geometry) -> dict[str, Any]:
    """Plain values, for another process; `from_json` reads them."""
    fields: dict[str, Any] = asdict(geometry)  # type: ignore[call-overload]  # A protocol.
    kind = type(geometry)
    return {"module": kind.__module__, "class": kind.__name__, **fields}


def from_json(content: Mapping[str, Any]) -> Geometry:
    """The geometry that `to_json` described; lists become tuples.

    Raises:
        ValueError: if it is not one of this folder.
    """
    values = {key: _tuples(value) for key, value in content.items()}
    module, name = values.pop("module"), values.pop("class")
    if module.rpartition(".")[0] != __package__:
        raise ValueError(f"no geometry {module}.{name}")
    geometry: Geometry = getattr(importlib.import_module(module), name)(**values)
    return geometry


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
