"""The vision tower up to its feature layer, in steps: embed, look, encode, finish what is kept.

No work that is not used: layers after the feature layer are not loaded, attention is one row at the
layers asked for, and the feature layer's own output is computed for kept tokens only, since its CLS
row is known before. Inside, a tower has tokens of its own, one a patch, and perhaps CLS; what goes
in and out of here is said of visual tokens, of r x r patches each (`PatchGroups`). Legend:
M partitions (of any number of images), T of the tower's tokens, N visual tokens, C width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch
from torch import Tensor

from hired_core.choices import LayerAt
from hired_core.vision.attention import cls_attention, received_attention
from hired_core.vision.encoder_layer import (
    Projections,
    attend,
    attend_at,
    finish,
    project,
    project_for_rows,
    run_layer,
)
from hired_core.vision.patch_groups import PatchGroups

CPU_MICRO_BATCH: Final = 4096  # More would not stay in a CPU's caches.
ACCELERATOR_MICRO_BATCH: Final = 64 * 576


@dataclass(frozen=True, kw_only=True)
class VisionTower:
    """What `VisionEncoder` needs of a tower; adapters in `hired_core.models` build it.

    Attributes:
        embed: normalised pixels [M, 3, S, S] -> hidden states [M, T, C] entering layer 0.
        layers: encoder layers, only those up to the feature layer.
        has_cls: whether token 0 is a CLS token.
        mean, std: of the pixel normalisation, per channel, for pixels in [0, 1].
        embed_resized: `embed` of squares of another size; None: the tower takes no other.
        groups: which patches make up a visual token.
        last_norm: from the feature layer's output [..., C] to features; None: it is them.
    """

    embed: Callable[[Tensor], Tensor]
    layers: list[Any]
    has_cls: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: torch.device
    dtype: torch.dtype
    embed_resized: Callable[[Tensor], Tensor] | None = None
    groups: PatchGroups = field(default_factory=PatchGroups)
    last_norm: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class FinalLayer:
    """The feature layer half done, for M partitions: all that its output depends on.

    Attributes:
        hidden: [M, T, C], its input.
        projections: its queries, keys and values.
        attention: float32 [M, H, N] of each earlier layer that was looked at, by layer index.
        received: the same of attention received, where that was asked for.
        keys: [M, H, T, d] of the earlier layers whose keys were.
    """

    hidden: Tensor
    projections: Projections
    attention: dict[int, Tensor] = field(default_factory=dict)
    received: dict[int, Tensor] = field(default_factory=dict)
    keys: dict[int, Tensor] = field(default_factory=dict)


_NONE: Final = Projections(*3 * (torch.empty(0),))


class VisionEncoder:
    """Runs a tower, a step at a time.

    Attributes:
        micro_batch: how many patches at once suit the device; callers keep to it.
    """

    def __init__(self, tower: VisionTower, *, micro_batch: int | None = None) -> None:
        self.tower = tower
        on_cpu = tower.device.type == "cpu"
        self.micro_batch = micro_batch or (CPU_MICRO_BATCH if on_cpu else ACCELERATOR_MICRO_BATCH)
        self._attention = cls_attention if tower.has_cls else received_attention
        self._first = 1 if tower.has_cls else 0  # Token of the first patch.
        self._mean = torch.tensor(tower.mean, device=tower.device)[:, None, None]
        self._std = torch.tensor(tower.std, device=tower.device)[:, None, None]

    def embed(self, partitions: Tensor, *, resized: bool = False) -> Tensor:
        """[M, T, C] entering layer 0, from uint8 [M, 3, S, S] on the tower's device.

        Args:
            resized: whether S is another than the tower's own; not every tower takes that.
        """
        embed = self.tower.embed_resized if resized else self.tower.embed
        assert embed is not None, "asked for another size of a tower that takes but one"
        pixels = partitions.float().mul_(1 / 255)
        return embed(pixels.sub_(self._mean).div_(self._std).to(self.tower.dtype))

    def index_of(self, layer: LayerAt) -> int:
        """0, halfway (rounded down) or the feature layer: 0, 11 and 22 of LLaVA-Next's tower.

        A number is a fraction of the way to the feature layer; a half is rounded up.
        """
        final = len(self.tower.layers) - 1
        if not isinstance(layer, str):
            return int(layer * final + 0.5)
        return {"initial": 0, "middle": final // 2, "final": final}[layer]

    def attention_before(self, index: int, hidden: Tensor) -> Tensor:
        """float32 [M, H, N] of layer `index`, which is about to run on `hidden`."""
        num_queries = 1 if self.tower.has_cls else hidden.shape[1]
        shown = self._attention(*project_for_rows(self.tower.layers[index], hidden, num_queries))
        return self.tower.groups.sums(shown)

    def encode(
        self,
        embedded: Tensor,
        looked_at: Collection[int] = (),
        received: Collection[int] = (),
        keys: int | None = None,
    ) -> FinalLayer:
        """Through all layers but the final one, and that one's projections.

        Args:
            looked_at: indices of the layers whose attention is wanted; the final one's can always
                be had (`attention_of`).
            received: the same of received attention (`received_at`), where CLS is there as well.
            keys: index of the layer whose keys are wanted (`keys_at`).
        """
        hidden, found = embedded, FinalLayer(hidden=embedded, projections=_NONE)
        for index, layer in enumerate(self.tower.layers[:-1]):
            if index in looked_at:
                found.attention[index] = self.attention_before(index, hidden)
            if index in received or index == keys:
                query, key = project_for_rows(layer, hidden, hidden.shape[1])
                if index in received:
                    found.received[index] = self._received(query, key)
                if index == keys:
                    found.keys[index] = key
            hidden = run_layer(layer, hidden)
        return replace(found, hidden=hidden, projections=project(self.tower.layers[-1], hidden))

    def attention_of(self, final: FinalLayer, index: int) -> Tensor:
        """float32 [M, H, N] of the final layer, or of one that was looked at on the way."""
        if index < len(self.tower.layers) - 1:
            return final.attention[index]
        shown = self._attention(final.projections.query, final.projections.key)
        return self.tower.groups.sums(shown)

    def received_at(self, final: FinalLayer, index: int) -> Tensor:
        """float32 [M, H, N], attention that patches receive at a layer asked for, or the final."""
        if index < len(self.tower.layers) - 1:
            return final.received[index]
        return self._received(final.projections.query, final.projections.key)

    def keys_at(self, final: FinalLayer, index: int) -> Tensor:
        """[M, N, C], keys of tokens at a layer asked for, or the final; heads side by side."""
        is_final = index == len(self.tower.layers) - 1
        keys = final.projections.key if is_final else final.keys[index]
        return self.tower.groups.means(keys[:, :, self._first :].transpose(1, 2).flatten(2))

    def finish_all(self, final: FinalLayer) -> Tensor:
        """[M, N, r*r*C], features of all tokens."""
        hidden, attended = final.hidden[:, self._first :], attend(final.projections)
        features = finish(self.tower.layers[-1], hidden, attended[:, self._first :])
        return self.tower.groups.joined(self._normed(features))

    def _received(self, query: Tensor, key: Tensor) -> Tensor:
        return self.tower.groups.sums(received_attention(query, key)[:, :, self._first :])

    def _normed(self, features: Tensor) -> Tensor:
        return features if self.tower.last_norm is None else self.tower.last_norm(features)

    def finish(self, final: FinalLayer, partition: Tensor, token: Tensor) -> Tensor:
        """Features [..., r*r*C] of the tokens `token` (0..N-1) of the rows `partition` (0..M-1).

        Only their patches go through what comes after attention; on CPUs, if they are few, also
        through attention, to all of their partition.
        """
        if self.tower.groups.merge == 1:
            return self._finish(final, partition, token)
        num_patches = final.hidden.shape[1] - self._first
        patch = self.tower.groups.patches_of(token, num_patches)
        return self._finish(final, partition[..., None].expand_as(patch), patch).flatten(-2)

    def _finish(self, final: FinalLayer, partition: Tensor, patch: Tensor) -> Tensor:
        """Features [..., C] of patches."""
        token = patch + self._first
        hidden, projections = final.hidden, final.projections
        few = 2 * token.numel() <= hidden.shape[0] * hidden.shape[1]
        if few and hidden.is_cpu:
            attended = attend_at(projections, partition, token)
        else:
            attended = attend(projections)[partition, token]
        return self._normed(finish(self.tower.layers[-1], hidden[partition, token], attended))
