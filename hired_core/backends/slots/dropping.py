"""Between two layers of a prompt: which rows go on, by the rank that a method's ranker gives.

Nothing here waits for the device: how many rows stay follows from counts alone. Legend: n rows of
the prompt that are being read, V visual ones among them, H heads, G key-value heads, d head size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hired_core.backends.slots.cache import SlotCache
from hired_core.methods.schedule import Ranker, Shown, keep_top


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of a prompt on their way through the layers.

    Attributes:
        hidden: [n, D].
        rotary: int64 [n], rotary positions; a row keeps its own when others leave.
        visual: int64 [V], ascending: which of them are visual tokens. None: nobody asks.
    """

    hidden: Tensor
    rotary: Tensor
    visual: Tensor | None = None

    def without(self, visual: Tensor, kept: Tensor) -> Rows:
        """All but the visual rows that are not `kept`, int64, ascending places among the V."""
        stays = torch.ones_like(self.rotary, dtype=torch.bool)
        stays[visual] = False
        stays[visual[kept]] = True
        left = self.rotary.shape[0] - visual.shape[0] + kept.shape[0]
        # Sorted rather than found: how many there are is known here, and not only on the device.
        index = stays.logical_not().byte().argsort(stable=True)[:left]
        return Rows(
            hidden=self.hidden[index],
            rotary=self.rotary[index],
            visual=stays.cumsum(0)[visual[kept]] - 1,
        )


def drop(
    rows: Rows, count: int, ranker: Ranker, cache: SlotCache, slot: int, start: int, query: Tensor
) -> Rows:
    """`rows` with `count` visual ones at most, those of highest rank; all others stay.

    Args:
        rows: what enters a layer: all that is being read, from position `start` of the slot on.
        cache: of the layers before.
        query: [H, d], of the last row in the layer before, times the scale of attention.
    """
    visual = rows.visual
    if visual is None or visual.shape[0] <= count:
        return rows
    keys = cache.of_layer(cache.layers[-1])[0][slot, :, : start + rows.rotary.shape[0]]
    shown = _show(ranker, count, keys, visual + start, query)
    return rows.without(visual, keep_top(ranker.rank(shown), count))


def _show(ranker: Ranker, count: int, keys: Tensor, visual: Tensor, query: Tensor) -> Shown:
    """What the ranker asks for; keys [G, L, d] are of the prompt so far."""
    attention = visual_keys = None
    if "last_attention" in ranker.asks:
        attention = last_attention(query, keys)[:, visual]
    if "keys" in ranker.asks:
        visual_keys = keys[:, visual]
    return Shown(count=count, last_attention=attention, keys=visual_keys)


def last_attention(query: Tensor, keys: Tensor) -> Tensor:
    """float32 [H, L]: probabilities of a query [H, d], scaled, over keys [G, L, d].

    In float32 throughout: ranks lie closer together than half precision can tell.
    """
    grouped = query.float().view(keys.shape[0], -1, keys.shape[-1])
    return (grouped @ keys.float().mT).softmax(-1).flatten(0, 1)
