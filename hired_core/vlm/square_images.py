"""What `VisionHalf` does with images that are cut into squares, each encoded by itself.

Legend: B images, P partitions, N visual tokens, M partitions of a micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from hired_core.choices import LayerAt
from hired_core.methods.base import Evidence, Needs
from hired_core.vision.tower import FinalLayer, VisionEncoder


@dataclass(frozen=True, kw_only=True)
class SquareImages:
    """Encodes a micro-batch and lays out what it shows."""

    encoder: VisionEncoder
    needs: Needs

    @property
    def looks_first(self) -> bool:
        """Before anything is encoded only the initial layer's attention is known."""
        return self.needs.full_image_layer == "initial"

    def look_first(self, evidence: Evidence, embedded: Tensor) -> Evidence:
        """What is known before anything is encoded."""
        if not self.looks_first:
            return evidence
        full_images = embedded[rows_of(evidence.layout.present)[:, 0]]
        attention = self.encoder.attention_before(0, full_images)
        return replace(evidence, full_image_attention=attention)

    def encode(self, embedded: Tensor) -> FinalLayer:
        """Through all layers but the final one, which are asked what the method looks at."""
        needs, index_of = self.needs, self.encoder.index_of
        late = not self.looks_first and needs.full_image_layer is not None
        shown = {*needs.cls_layers, *([needs.full_image_layer] if late else [])}
        keys = None if needs.keys_layer is None else index_of(needs.keys_layer)
        attention = {index_of(layer) for layer in shown if layer is not None}
        received = {index_of(layer) for layer in needs.received_layers}
        return self.encoder.encode(embedded, attention, received, keys)

    def look(self, evidence: Evidence, final: FinalLayer, rows: Tensor) -> Evidence:
        """What is known when all layers but the final one have run, features apart.

        Args:
            rows: int64 [B, P], see `rows_of`.
        """
        needs, vision = self.needs, self.encoder

        def attention(layer: LayerAt) -> Tensor:
            return vision.attention_of(final, vision.index_of(layer))

        if needs.full_image_layer is not None and not self.looks_first:
            shown = attention(needs.full_image_layer)[rows[:, 0]]
            evidence = replace(evidence, full_image_attention=shown)
        received = {
            layer: vision.received_at(final, vision.index_of(layer))[rows]
            for layer in needs.received_layers
        }
        keys = None
        if needs.keys_layer is not None:
            keys = vision.keys_at(final, vision.index_of(needs.keys_layer))[rows]
        attentions = {layer: attention(layer)[rows] for layer in needs.cls_layers}
        return replace(evidence, attention=attentions, received=received, keys=keys)


def rows_of(encoded: Tensor) -> Tensor:
    """int64 [B, P]: which row of all partitions encoded each one is; arbitrary for the others."""
    return (encoded.flatten().cumsum(0) - 1).view(encoded.shape)
