"""PyramidDrop (arXiv:2410.17247): visual tokens leave in stages, more and more of them.

The decoder is cut into stages of equal depth, and at the end of each a fixed ratio of
the visual tokens left goes on: n, n r, n r^2, ... The published setting is four stages, with drops
at the entry of layers 8, 16 and 24 of 32, and 1, .5, .25 and .125 of n. A token's rank is the
attention of the last prompt token to it in the very layer that is about to run, by that layer's own
norm and projections, softmax over the whole prompt, averaged over heads:

    phi_v = 1/H sum_h softmax(q_last K^T / sqrt(d))[h, v]

Deviations: the token budget is the count behind the last drop, and r follows from it (a budget of
.125 n is the published case, to the token); n is the most that any image brings, so that an image
with fewer loses fewer at the first drops; rotary positions stay those of the whole prompt, where
the published code counts them anew after each drop; newlines between rows count as text and stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import allocate_all
from hired_core.methods.in_llm.fastv import mean_attention
from hired_core.methods.pairing import PairedSelection
from hired_core.methods.pre_llm.geometric.dense import select_all
from hired_core.methods.schedule import KeepSchedule, Ranker, Shown, asked, make_schedule

_SLACK: Final = 1e-9
"""Of a count that is whole but for the last bits of a power."""


@dataclass(frozen=True, kw_only=True)
class PyramidDropOptions:
    """Options of `pyramiddrop`."""

    stages: int = 4
    """Stages of equal depth; visual tokens leave between them, at 8, 16 and 24 of 32 layers."""

    def __post_init__(self) -> None:
        require(self.stages >= 2, "stages", self.stages, "a whole number, at least 2")


DEFAULTS: Final = PyramidDropOptions()


def drop_counts(count: int, num_visual: int, drops: int) -> list[int]:
    """Visual tokens behind each drop: n r, n r^2, ... rounded down, and `count` behind the last.

    Args:
        count: at least 1; where it is n = `num_visual` or more, nothing is dropped.
    """
    ratio = count / num_visual
    earlier = [int(num_visual * ratio ** (s / drops) + _SLACK) for s in range(1, drops)]
    return [*(max(each, count) for each in earlier), count]


def _rank(shown: Shown) -> Tensor:
    return mean_attention(asked(shown.next_attention))


RANKER: Final = Ranker(asks=frozenset({"next_attention"}), rank=_rank)


def schedule(
    count: int, num_visual: int, num_layers: int, options: PyramidDropOptions = DEFAULTS
) -> KeepSchedule:
    """A drop between any two stages; those that fall on one layer are one.

    Args:
        count: of visual tokens behind the last drop, at least 1.
        num_visual: n, the most that an image brings.
        num_layers: of the decoder.

    Raises:
        ValueError: if `count` is below 1 or the decoder has a single layer.
    """
    stages = options.stages
    fractions = [stage / stages for stage in range(1, stages)]
    return make_schedule(fractions, drop_counts(count, num_visual, stages - 1), num_layers, RANKER)


METHOD: Final = PairedSelection(
    allocate=allocate_all,
    select=select_all,
    options=PyramidDropOptions,
    keeps_all=True,
    schedule=schedule,
)
