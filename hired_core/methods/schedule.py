"""Dropping visual rows between decoder layers: at which layers, how many stay, and by what rank.

A method inside the language model declares a `KeepSchedule`; the engine carries it out while it
reads a prompt. What a ranker may look at it asks for, and is shown nothing else. A method that asks
for something new adds a name to `Ask`, a field to `Shown`, and the lines of the engine that fill it
(`hired_core.backends.slots.dropping`). Legend: V visual rows that are left, U of them that the
prompt came with, T rows of the text after the image, H heads, G key-value heads, d head size,
D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

Ask = Literal["last_attention", "next_attention", "text_attention", "keys", "hidden", "inputs"]
"""A field of `Shown`; `keys`, `hidden` and `inputs` come with those of the text after the image."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a ranker is shown of the visual rows of one prompt; None: not asked for.

    Rows are about to enter a layer. Attention is probabilities over all that the asking token sees
    of the prompt, of which these are the visual ones.

    Attributes:
        count: how many of the V rows will stay; at least 1, below V.
        last_attention: float32 [H, V], of the last prompt token, in the layer before.
        next_attention: float32 [H, V], of the last prompt token, in the layer itself.
        text_attention: float64 [T, V], averaged over heads, of the text after the image, in the
            layer before.
        keys, text_keys: [G, V, d] and [G, T, d], of the layer before, rotary positions applied.
        hidden, text_hidden: [V, D] and [T, D], as they enter the layer.
        inputs, text_inputs: [U, D] and [T, D], as they entered the first layer. The text after the
            image is never empty: where there is none, it is the prompt's last row.
    """

    count: int
    last_attention: Tensor | None = None
    next_attention: Tensor | None = None
    text_attention: Tensor | None = None
    keys: Tensor | None = None
    text_keys: Tensor | None = None
    hidden: Tensor | None = None
    text_hidden: Tensor | None = None
    inputs: Tensor | None = None
    text_inputs: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What becomes of V rows: some stay, and some of the others may go on as sums.

    Attributes:
        kept: int64 [K], ascending places among the V.
        merged: [M, D], rows that stand for several; K + M is `Shown.count`. They are visual rows
            like others from then on, and stand behind the last of them.
        centre: int64 [M], places among the V whose rotary positions the merged rows take.
    """

    kept: Tensor
    merged: Tensor | None = None
    centre: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Ranker:
    """Ranks visual rows by what it asks for.

    Attributes:
        asks: the fields of `Shown` that are filled.
        rank: a plain function from them to scores, float [V], of which the highest stay; or to a
            `Choice`. It waits for no device.
    """

    asks: frozenset[Ask]
    rank: Callable[[Shown], Tensor | Choice]

    def choose(self, shown: Shown) -> Choice:
        """As `rank` says; `shown.count` rows are left."""
        found = self.rank(shown)
        return found if isinstance(found, Choice) else Choice(kept=keep_top(found, shown.count))


@dataclass(frozen=True, kw_only=True)
class KeepSchedule:
    """The most visual rows that each decoder layer sees; text and newlines always stay.

    Attributes:
        layers: indices, ascending, of the layers at whose entry rows are dropped; from 1 on, since
            a ranker looks at the layer before.
        counts: the most visual rows from each of them on; at least 1, none above the one before.
        ranker: ranks what is left at each of them.

    Raises:
        ValueError: if layers or counts are not as said.
    """

    layers: tuple[int, ...]
    counts: tuple[int, ...]
    ranker: Ranker

    def __post_init__(self) -> None:
        if not self.layers or len(self.layers) != len(self.counts):
            raise ValueError(f"one count for each layer, got {self.layers} and {self.counts}")
        if self.layers[0] < 1 or any(a >= b for a, b in pairwise(self.layers)):
            raise ValueError(f"layers must ascend from 1 on, got {self.layers}")
        if self.counts[-1] < 1 or any(a < b for a, b in pairwise(self.counts)):
            raise ValueError(f"counts must not grow and be at least 1, got {self.counts}")

    def segments(self, num_layers: int) -> list[range]:
        """The layers between drops: those of a range see the same rows.

        Raises:
            ValueError: if the decoder has no such layers.
        """
        if self.layers[-1] >= num_layers:
            raise ValueError(f"rows are to be dropped at layer {self.layers[-1]} of {num_layers}")
        return [range(a, b) for a, b in pairwise((0, *self.layers, num_layers))]

    def dropped(self, num_visual: int) -> tuple[int, ...]:
        """How many of `num_visual` rows the layers of each segment do not see; 0 in the first."""
        return (0, *(max(num_visual - count, 0) for count in self.counts))


MakeSchedule = Callable[[int, int, int, Any], KeepSchedule]
"""(visual tokens to keep, the most that an image brings, layers of the decoder, the method's
options) -> what each layer sees."""


def layer_at(fraction: float, num_layers: int) -> int:
    """The layer at a fraction of the decoder's depth: the nearest (a half goes up) that can drop.

    Raises:
        ValueError: if the fraction is not between 0 and 1, or there is no layer after the first.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"a fraction of depth is above 0 and below 1, got {fraction}")
    if num_layers < 2:
        raise ValueError(f"rows are dropped between layers, the decoder has {num_layers}")
    return min(max(math.floor(fraction * num_layers + 0.5), 1), num_layers - 1)


def make_schedule(
    fractions: Sequence[float], counts: Sequence[int], num_layers: int, ranker: Ranker
) -> KeepSchedule:
    """Drops at fractions of the depth; those that fall on one layer are one, with the last count.

    Args:
        fractions: ascending; `counts` of the rows to keep, one for each, not growing.

    Raises:
        ValueError: as `layer_at` and `KeepSchedule`.
    """
    if list(fractions) != sorted(fractions):
        raise ValueError(f"fractions of depth must ascend, got {list(fractions)}")
    layers = [layer_at(fraction, num_layers) for fraction in fractions]
    last = dict(zip(layers, counts, strict=True))
    return KeepSchedule(layers=tuple(last), counts=tuple(last.values()), ranker=ranker)


def keep_top(scores: Tensor, count: int) -> Tensor:
    """int64 [min(count, V)], ascending: where the highest scores are; no device sync.

    Equal scores keep the lower place; a NaN counts as minus infinity.

    Args:
        scores: float [V].
    """
    score = scores.where(~scores.isnan(), -torch.inf)
    return score.argsort(descending=True, stable=True)[:count].sort().values


def asked(shown: Tensor | None) -> Tensor:
    """What was asked for; the engine shows all of it."""
    assert shown is not None, "the ranker looks at what it did not ask for"
    return shown
