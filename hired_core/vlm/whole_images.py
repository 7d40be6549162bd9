"""What `VisionHalf` does with images that are encoded as a whole, and cut into cells for methods.

The tower tells of visual tokens of all images one after another; methods are shown them in their
cells. Legend: B images, P partitions, N visual tokens of a cell, n of all images, H heads, K rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hired_core.choices import LayerAt
from hired_core.geometry.layout import PartitionLayout
from hired_core.methods.base import Evidence, Needs
from hired_core.transfer import upload
from hired_core.vision.packed import PackedEncoder, PackedFinal


@dataclass(frozen=True, kw_only=True)
class WholeImages:
    """Encodes a micro-batch and lays out what it shows."""

    encoder: PackedEncoder
    needs: Needs

    def encode(self, patches: Tensor, layouts: Sequence[PartitionLayout]) -> PackedFinal:
        """uint8 [T, 3, p, p] of images one after another, through all layers but the last."""
        index_of, needs = self.encoder.index_of, self.needs
        shown = {*needs.cls_layers, *needs.received_layers} - {None}
        if needs.full_image_layer is not None:
            shown.add(needs.full_image_layer)
        keys = None if needs.keys_layer is None else index_of(needs.keys_layer)
        packed = self.encoder.embed(patches, [layout.stitched for layout in layouts])
        return self.encoder.encode(packed, {index_of(layer) for layer in shown}, keys)

    def look(self, evidence: Evidence, final: PackedFinal, rows: Tensor) -> Evidence:
        """The evidence that is asked for, features apart.

        Args:
            rows: int64 [B, P*N], see `token_rows`.
        """
        needs = self.needs
        shape = evidence.layout.valid.shape

        def attention(layer: LayerAt) -> Tensor:
            """[B, H, P*N]."""
            return final.attention[self.encoder.index_of(layer)][rows].transpose(1, 2)

        def by_cell(layers: Sequence[LayerAt]) -> Mapping[LayerAt, Tensor]:
            """[B, P, H, N] each."""
            return {
                layer: attention(layer).unflatten(-1, shape[1:]).transpose(1, 2) for layer in layers
            }

        found = replace(
            evidence, attention=by_cell(needs.cls_layers), received=by_cell(needs.received_layers)
        )
        if needs.full_image_layer is not None:
            found = replace(found, full_image_attention=attention(needs.full_image_layer))
        if needs.keys_layer is not None:
            keys = final.keys[self.encoder.index_of(needs.keys_layer)]
            found = replace(found, keys=keys[rows].unflatten(1, shape[1:]))
        return found


def token_rows(layouts: Sequence[PartitionLayout], most: int, device: torch.device) -> Tensor:
    """int64 [B, P*N]: of each place of each cell, its token among all images'; 0 in padding.

    Args:
        most: P of the batch.
    """
    found = torch.zeros(len(layouts), most, layouts[0].num_tokens, dtype=torch.long)
    first = 0
    for row, layout in enumerate(layouts):
        found[row, : layout.num_partitions] = (layout.place + first).where(layout.valid, 0)
        first += layout.num_valid
    return upload(found.flatten(1), device)
