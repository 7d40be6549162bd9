"""FastV (arXiv:2403.06764): visual tokens that the text hardly looks at leave after a few layers.

Section 4.1: at the entry of layer K the visual tokens are ranked by phi_attn, the attention that
each receives in layer K - 1, averaged over heads, and the lowest R percent are dropped. The paper
says attention "received from all other tokens"; its code, and this, look at the last prompt token:

    phi_v = 1/H sum_h A[h, last, v]

Rotary positions are those of the whole prompt. Layers below K keep the cells of all tokens.
Deviations: what stays is a count, the token budget, not a share; newlines between rows count as
text and stay; K is a fraction of the depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import allocate_all
from hired_core.methods.pairing import PairedSelection
from hired_core.methods.pre_llm.geometric.dense import select_all
from hired_core.methods.schedule import KeepSchedule, Ranker, Shown, asked, make_schedule
from hired_core.methods.scores import exact_sum


@dataclass(frozen=True, kw_only=True)
class FastVOptions:
    """Options of `fastv`."""

    depth: float = 2 / 32
    """Fraction of the decoder's layers that see all visual tokens: K = 2 of 32. At least one does,
    and at least one does not."""

    def __post_init__(self) -> None:
        require(0 < self.depth < 1, "depth", self.depth, "above 0 and below 1")


def mean_attention(attention: Tensor) -> Tensor:
    """float64 [V]: the attention that each visual token receives, averaged over heads.

    The same in every order of summation. NaN spreads to its token.

    Args:
        attention: float [H, V], of the last prompt token.
    """
    return exact_sum(attention, dim=0) / attention.shape[0]


def _rank(shown: Shown) -> Tensor:
    return mean_attention(asked(shown.last_attention))


RANKER: Final = Ranker(asks=frozenset({"last_attention"}), rank=_rank)

DEFAULTS: Final = FastVOptions()


def schedule(
    count: int, num_visual: int, num_layers: int, options: FastVOptions = DEFAULTS
) -> KeepSchedule:
    """All visual tokens up to layer K, `count` from there on.

    Args:
        count: of visual tokens to keep, at least 1; an image with fewer keeps all it has.
        num_visual: the most that an image brings; has no say.
        num_layers: of the decoder.

    Raises:
        ValueError: if `count` is below 1 or the decoder has a single layer.
    """
    return make_schedule([options.depth], [count], num_layers, RANKER)


METHOD: Final = PairedSelection(
    allocate=allocate_all,
    select=select_all,
    options=FastVOptions,
    keeps_all=True,
    schedule=schedule,
)
