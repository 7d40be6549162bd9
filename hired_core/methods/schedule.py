"""Dropping visual rows between decoder layers: at which layers, how many stay, and by what rank.

A method inside the language model declares a `KeepSchedule`; the engine carries it out while it
reads a prompt. What a ranker may look at it asks for, and is shown nothing else. A method that asks
for something new adds a name to `Ask`, a field to `Shown`, and the lines of the engine that fill it
(`hired_core.backends.slots.dropping`). Legend: V visual rows that are left, H heads, G key-value
heads, d head size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

Ask = Literal["last_attention", "keys"]
"""`last_attention`: of the last prompt token, in the layer before; `keys`: of the layer before."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a ranker is shown of the visual rows of one prompt; None: not asked for.

    Attributes:
        count: how many of the V rows will stay; at least 1, below V.
        last_attention: float32 [H, V], probabilities over the whole prompt, of which these are
            the visual ones.
        keys: [G, V, d], rotary positions applied.
    """

    count: int
    last_attention: Tensor | None = None
    keys: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Ranker:
    """Ranks visual rows by what it asks for.

    Attributes:
        asks: the fields of `Shown` that are filled.
        rank: a plain function from them to scores, float [V]; the highest stay.
    """

    asks: frozenset[Ask]
    rank: Callable[[Shown], Tensor]


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
