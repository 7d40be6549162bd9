"""The key-value cache of all slots: one fixed region each, nothing allocated while it runs.

Legend: A slots in use, S slots, L positions of a slot, G key-value heads, d head size.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

CELL_BLOCK: Final = 16


def num_cells(length: int, *, on_gpu: bool) -> int:
    """So many positions in whole blocks on a GPU: else its kernels copy a mask to pad it."""
    return -(-length // CELL_BLOCK) * CELL_BLOCK if on_gpu else length


class SlotCache:
    """Keys and values [layers, S, G, L, d] of consecutive layers, all of which see the same rows.

    Cells start as zeros: masked ones are read too, and what torch leaves in fresh memory may be
    NaN, which no mask takes away. Methods take the decoder's own layer indices.

    Args:
        layers: the decoder's layers whose cells these are.
    """

    def __init__(
        self,
        *,
        layers: range,
        num_slots: int,
        num_heads: int,
        max_length: int,
        head_dim: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        cells = num_cells(max_length, on_gpu=device.type == "cuda")
        shape = (len(layers), num_slots, num_heads, cells, head_dim)
        self.layers = layers
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self._rows = torch.arange(num_slots, device=device)

    @property
    def num_slots(self) -> int:
        return self.keys.shape[1]

    @property
    def max_length(self) -> int:
        """L, in whole blocks on a GPU."""
        return self.keys.shape[3]

    def of_layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [S, G, L, d] of one layer, to be read or written."""
        at = layer - self.layers.start
        return self.keys[at], self.values[at]

    def write_run(self, layer: int, slot: int, start: int, keys: Tensor, values: Tensor) -> None:
        """Stores [n, G, d] at positions start..start+n-1 of one slot."""
        end = start + keys.shape[0]
        key_cells, value_cells = self.of_layer(layer)
        key_cells[slot, :, start:end] = keys.transpose(0, 1)
        value_cells[slot, :, start:end] = values.transpose(0, 1)

    def write_step(self, layer: int, positions: Tensor, keys: Tensor, values: Tensor) -> None:
        """Stores [A, G, d], one position (int64 [A]) of each of the first A slots."""
        rows = self._rows[: positions.shape[0]]
        key_cells, value_cells = self.of_layer(layer)
        key_cells[rows, :, positions] = keys
        value_cells[rows, :, positions] = values

    def clear_from(self, slot: int, start: int) -> None:
        """Zeros a slot from a position on: a NaN that a former request left there would get out."""
        for cells in (self.keys, self.values):
            cells[:, slot, :, start:] = 0

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` positions of slot `source` to slot `target`, in all layers."""
        for cells in (self.keys, self.values):
            cells[:, target, :, :length] = cells[:, source, :, :length]
