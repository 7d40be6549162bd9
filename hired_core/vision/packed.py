"""Towers that take an image of any shape as one sequence of patches, several images side by side.

Attention is block by block: an image's patches see each other, or, in windowed layers, those of
their window. There is no CLS token: patches tell their importance by the attention they receive,
in layers that see the whole image. Four patches (r x r) are one visual token; its score is the sum
of theirs, its key their mean. Legend: T patches of all images, n visual tokens of all, H heads,
d head width, C width, K rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from hired_core.choices import LayerAt
from hired_core.geometry.canvas import Size
from hired_core.onednn import plus
from hired_core.vision.attention import received_attention
from hired_core.vision.blocks import blocks_of, windows_of
from hired_core.vision.patch_groups import PatchGroups
from hired_core.vision.tower import ACCELERATOR_MICRO_BATCH, CPU_MICRO_BATCH, VisionEncoder
from hired_core.vision.tower import VisionTower as SquareTower

Angles = tuple[Tensor, Tensor]
"""Cosine and sine, float32 [T, d]."""


@dataclass(frozen=True, kw_only=True)
class PackedTower:
    """What `PackedEncoder` needs of a tower; adapters in `hired_core.models` build it.

    Attributes:
        embed: normalised patches [T, 3, p, p] and grids of patches -> hidden states [T, C].
        angles: grids of patches -> rotary angles.
        layers: blocks with `norm1`, `attn.{qkv, proj, num_heads}`, `norm2` and `mlp`.
        merge: r. A visual token's patches come one after the other.
        windowed: layers that see windows alone; `window`: visual tokens along a side of one.
        taps: layers whose output is a part of a row beside the last one's.
        mean, std: of the pixel normalisation, per channel, for pixels in [0, 1].
    """

    embed: Callable[[Tensor, Sequence[Size]], Tensor]
    angles: Callable[[Sequence[Size]], Angles]
    layers: list[Any]
    merge: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: torch.device
    dtype: torch.dtype
    windowed: frozenset[int] = frozenset()
    window: int = 0
    taps: tuple[int, ...] = ()
    has_cls: bool = False


class Heads(NamedTuple):
    """Of a layer, each [T, H, d]; queries and keys are rotated, `plain` keys are not."""

    query: Tensor
    key: Tensor
    value: Tensor
    plain: Tensor


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Images side by side: what enters layer 0, where each image's patches are, and how rotated.

    Attributes:
        hidden: [T, C].
        images, windows: int64 [m, L] each: rows of m images, or windows, of L patches.
    """

    hidden: Tensor
    angles: Angles
    images: list[Tensor]
    windows: list[Tensor]


@dataclass(frozen=True, kw_only=True)
class PackedFinal:
    """The last layer half done: all that its output depends on.

    Attributes:
        hidden: [T, C], its input. `heads`, `blocks`: what it attends with, and within.
        attention: float32 [n, H], received by visual tokens, by layer index.
        keys: [n, C], by layer index.
        taps: [T, C] of each layer that is tapped, in order.
    """

    hidden: Tensor
    heads: Heads
    blocks: list[Tensor]
    attention: dict[int, Tensor] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)
    taps: list[Tensor] = field(default_factory=list)


class PackedEncoder:
    """Runs a packed tower, a step at a time.

    Attributes:
        micro_batch: how many patches at once suit the device; a larger image goes alone.
    """

    def __init__(self, tower: PackedTower, *, micro_batch: int | None = None) -> None:
        self.tower = tower
        on_cpu = tower.device.type == "cpu"
        self.micro_batch = micro_batch or (CPU_MICRO_BATCH if on_cpu else ACCELERATOR_MICRO_BATCH)
        self._mean = torch.tensor(tower.mean, device=tower.device)[:, None, None]
        self._std = torch.tensor(tower.std, device=tower.device)[:, None, None]
        self._groups = PatchGroups(merge=tower.merge, adjacent=True)
        self._whole = [i for i in range(len(tower.layers)) if i not in tower.windowed]

    def embed(self, patches: Tensor, grids: Sequence[Size]) -> Packed:
        """From uint8 [T, 3, p, p] of images one after another.

        Args:
            grids: (rows, cols) of visual tokens of each.
        """
        tower, r = self.tower, self.tower.merge
        pixels = patches.float().mul_(1 / 255).sub_(self._mean).div_(self._std)
        in_patches = [(rows * r, cols * r) for rows, cols in grids]
        window = tower.window if tower.windowed else 0
        return Packed(
            hidden=tower.embed(pixels.to(tower.dtype), in_patches),
            angles=tower.angles(in_patches),
            images=blocks_of([rows * cols for rows, cols in grids], r * r, tower.device),
            windows=windows_of(tuple(grids), window, r * r, tower.device) if window else [],
        )

    def index_of(self, layer: LayerAt) -> int:
        """The layer that sees whole images nearest to where it is asked for; earlier of two.

        By name the first, halfway and the last of them; a number is a fraction of the way.
        """
        named = {"initial": 0.0, "middle": 0.5, "final": 1.0}
        share = named[layer] if isinstance(layer, str) else layer
        at = share * (len(self.tower.layers) - 1)
        if layer == "final":
            return self._whole[-1]
        return min(self._whole, key=lambda index: (abs(index - at), index))

    def encode(
        self, packed: Packed, looked_at: Collection[int] = (), keys: int | None = None
    ) -> PackedFinal:
        """Through all layers but the last, and that one's queries, keys and values.

        Args:
            looked_at: indices of the layers whose received attention is wanted.
            keys: index of the layer whose keys are wanted.
        """
        tower, hidden = self.tower, packed.hidden
        found = PackedFinal(hidden=hidden, heads=Heads(*4 * (hidden,)), blocks=packed.images)
        for index, layer in enumerate(tower.layers):
            heads = _project(layer, hidden, packed.angles)
            blocks = packed.windows if index in tower.windowed else packed.images
            if index in looked_at:
                found.attention[index] = self._received(heads, packed.images)
            if index == keys:
                found.keys[index] = self._groups.means(heads.plain.flatten(1)[None])[0]
            if index == len(tower.layers) - 1:
                break
            hidden = _finish(layer, hidden, _attend(heads, blocks))
            if index in tower.taps:
                found.taps.append(hidden)
        return replace(found, hidden=hidden, heads=heads, blocks=blocks)

    def finish(self, final: PackedFinal, token: Tensor) -> Tensor:
        """[..., F] of visual tokens, int64 [...]: their patches' outputs side by side, then taps.

        Only their patches go through what comes after attention.
        """
        last = len(self.tower.layers) - 1
        patch = self._groups.patches_of(token, final.hidden.shape[0]).flatten()
        attended = _attend(final.heads, final.blocks)[patch]
        out = _finish(self.tower.layers[-1], final.hidden[patch], attended)
        parts = [out, *(tap[patch] for tap in final.taps)]
        parts += [out] if last in self.tower.taps else []
        return torch.cat([part.view(*token.shape, -1) for part in parts], dim=-1)

    def finish_all(self, final: PackedFinal) -> Tensor:
        """[n, F] of all visual tokens."""
        count = final.hidden.shape[0] // self.tower.merge**2
        return self.finish(final, torch.arange(count, device=final.hidden.device))

    def _received(self, heads: Heads, images: list[Tensor]) -> Tensor:
        """float32 [n, H]."""
        found = torch.empty(heads.key.shape[:2], dtype=torch.float32, device=heads.key.device)
        for index in images:
            query, key = (x[index].transpose(1, 2) for x in (heads.query, heads.key))
            found[index] = received_attention(query, key).transpose(1, 2)
        return self._groups.sums(found.T[None])[0].T


def _project(layer: Any, hidden: Tensor, angles: Angles) -> Heads:
    attention = layer.attn
    mixed = attention.qkv(layer.norm1(hidden)).unflatten(-1, (3, attention.num_heads, -1))
    query, key, value = mixed.unbind(1)
    return Heads(_rotate(query, angles), _rotate(key, angles), value, key)


def _rotate(x: Tensor, angles: Angles) -> Tensor:
    """In float32, whatever the tower computes in; halves are paired."""
    cos, sin = (angle[:, None] for angle in angles)
    whole = x.float()
    left, right = whole.chunk(2, dim=-1)
    return (whole * cos + torch.cat([-right, left], dim=-1) * sin).to(x.dtype)


def _attend(heads: Heads, blocks: list[Tensor]) -> Tensor:
    """[T, C]: within each block; a call for all blocks of one length."""
    found = torch.empty_like(heads.query)
    for index in blocks:
        query, key, value = (x[index].transpose(1, 2) for x in heads[:3])
        attended = functional.scaled_dot_product_attention(query, key, value)
        found[index] = attended.transpose(1, 2)
    return found.flatten(1)


def _finish(layer: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    hidden = plus(layer.attn.proj, attended, hidden)
    return hidden + layer.mlp(layer.norm2(hidden))  # type: ignore[no-any-return]  # Untyped.


Tower = SquareTower | PackedTower
Encoder = VisionEncoder | PackedEncoder


def make_encoder(tower: Tower) -> Encoder:
    """What runs the tower."""
    return PackedEncoder(tower) if isinstance(tower, PackedTower) else VisionEncoder(tower)
