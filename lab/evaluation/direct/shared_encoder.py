"""A vision encoder that remembers what it made of the images at hand, for the next method.

Methods differ in what they look at and keep, not in the tower. What depends on pixels alone is
computed once; what is no pixel seen before (a method that resizes images or leaves partitions out)
is computed as by the encoder that it stands for, and so is what any method asks for of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hired_core.methods.base import Needs
from hired_core.vision.packed import Encoder, Tower, make_encoder
from hired_core.vision.tower import FinalLayer, VisionEncoder, VisionTower

__all__ = ["SharedEncoder", "SharedProjector", "forget", "sharing_encoder"]


@dataclass
class _Seen:
    """Partitions, uint8 [M, 3, S, S], and what was made of them so far."""

    pixels: Tensor
    embedded: Tensor
    final: FinalLayer | None = None
    every: Tensor | None = None
    received: dict[int, Tensor] = field(default_factory=dict)
    finished: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)


class SharedEncoder(VisionEncoder):
    """Every result is that of `VisionEncoder`, bit by bit, or the very one it gave before.

    Args:
        needs: what the methods that share it look at, so that one pass shows all of it; what else
            is asked for costs a pass of its own.
    """

    def __init__(
        self, tower: VisionTower, needs: Sequence[Needs] = (), *, micro_batch: int | None = None
    ) -> None:
        super().__init__(tower, micro_batch=micro_batch)
        layers = {layer for each in needs for layer in (*each.cls_layers, each.full_image_layer)}
        self._shown_to_all = {self.index_of(layer) for layer in layers if layer is not None}
        self._received_by_all = {
            self.index_of(layer) for each in needs for layer in each.received_layers
        }
        keys = [each.keys_layer for each in needs]
        self._keys_of_all = [self.index_of(layer) for layer in keys if layer is not None]
        self._seen: list[_Seen] = []

    def forget(self) -> None:
        """Lets go of all images."""
        self._seen.clear()

    def embed(self, partitions: Tensor, *, resized: bool = False) -> Tensor:
        if resized:  # Each method that resizes has its own sizes.
            return super().embed(partitions, resized=True)
        for seen in self._seen:
            if _equal(seen.pixels, partitions):
                return seen.embedded
        self._seen.append(_Seen(pixels=partitions, embedded=super().embed(partitions)))
        return self._seen[-1].embedded

    def encode(
        self,
        embedded: Tensor,
        looked_at: Collection[int] = (),
        received: Collection[int] = (),
        keys: int | None = None,
    ) -> FinalLayer:
        seen = next((seen for seen in self._seen if seen.embedded is embedded), None)
        if seen is None:
            return super().encode(embedded, looked_at, received, keys)
        if seen.final is None or not self._shows(seen.final, looked_at, received, keys):
            shown, received = {*looked_at, *self._shown_to_all}, {*received, *self._received_by_all}
            keys = next(iter(self._keys_of_all), None) if keys is None else keys
            seen.final = _joined(seen.final, super().encode(embedded, shown, received, keys))
        return seen.final

    def received_at(self, final: FinalLayer, index: int) -> Tensor:
        seen = self._of(final)
        if seen is None:
            return super().received_at(final, index)
        if index not in seen.received:
            seen.received[index] = super().received_at(final, index)
        return seen.received[index]

    def finish_all(self, final: FinalLayer) -> Tensor:
        seen = self._of(final)
        if seen is None:
            return super().finish_all(final)
        if seen.every is None:
            seen.every = super().finish_all(final)
        return seen.every

    def finish(self, final: FinalLayer, partition: Tensor, patch: Tensor) -> Tensor:
        """As of the encoder; methods that keep the same are given the same tensor."""
        seen = self._of(final)
        if seen is None:
            return super().finish(final, partition, patch)
        for *wanted, features in seen.finished:
            if _equal(wanted[0], partition) and _equal(wanted[1], patch):
                return features
        seen.finished.append((partition, patch, super().finish(final, partition, patch)))
        return seen.finished[-1][2]

    def _of(self, final: FinalLayer) -> _Seen | None:
        return next((seen for seen in self._seen if seen.final is final), None)

    def _shows(
        self,
        final: FinalLayer,
        looked_at: Collection[int],
        received: Collection[int],
        keys: int | None,
    ) -> bool:
        """Of layers before the final one; that one always shows all."""
        last = len(self.tower.layers) - 1
        asked = (
            ({*looked_at}, final.attention),
            ({*received}, final.received),
            ({keys} - {None}, final.keys),
        )
        return all(wanted - {last} <= there.keys() for wanted, there in asked)


def sharing_encoder(tower: Tower, needs: Sequence[Needs] = ()) -> Encoder:
    """What runs a tower for several methods.

    Images that are encoded as a whole are so anew for each of them: nothing is shared.
    """
    return SharedEncoder(tower, needs) if isinstance(tower, VisionTower) else make_encoder(tower)


def forget(encoder: Encoder) -> None:
    """Lets go of all images that an encoder remembers."""
    if isinstance(encoder, SharedEncoder):
        encoder.forget()


class SharedProjector(nn.Module):
    """A projector that gives the same tensor for the tensor that it was given last."""

    def __init__(self, projector: nn.Module) -> None:
        super().__init__()
        self.projector = projector
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        if self._last is None or self._last[0] is not features:
            self._last = features, self.projector(features)
        return self._last[1]

    def forget(self) -> None:
        """Lets go of both."""
        self._last = None


def _joined(before: FinalLayer | None, after: FinalLayer) -> FinalLayer:
    """All that either shows."""
    if before is None:
        return after
    return replace(
        after,
        attention=before.attention | after.attention,
        received=before.received | after.received,
        keys=before.keys | after.keys,
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)
