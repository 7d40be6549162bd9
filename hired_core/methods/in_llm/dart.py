"""DART (arXiv:2502.11494): of the visual tokens those stay that repeat a few pivots least.

Before layer K, pivots are the visual tokens, and the text tokens after the image, with
the largest L1 norm of their keys in layer K - 1, heads side by side. Pivots take turns: each takes
the q visual tokens that are left whose hidden states have the lowest cosine with its own. What
stays are the visual pivots and what was taken; text pivots are only compared with. No attention is
looked at.

Deviations: what stays is exactly the token budget: the budget without the visual pivots is shared
equally, a rest of the division going to the first pivots, where the published code takes
floor(budget / pivots) each and the pivots on top; pivots take turns by norm, visual ones first,
where that code follows the order of a set; a budget below the number of visual pivots keeps the
first of these; K is a fraction of the depth; newlines between rows count as text and stay. Keys are
as the cache holds them, rotary positions applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import allocate_all
from hired_core.methods.pairing import PairedSelection
from hired_core.methods.pre_llm.geometric.dense import select_all
from hired_core.methods.schedule import Choice, KeepSchedule, Ranker, Shown, asked, make_schedule


@dataclass(frozen=True, kw_only=True)
class DartOptions:
    """Options of `dart`."""

    depth: float = 2 / 32
    """Fraction of the decoder's layers that see all visual tokens: K = 2 of 32. At least one does,
    and at least one does not."""
    visual_pivots: int = 4
    """Visual tokens that others are compared with; they stay."""
    text_pivots: int = 4
    """Tokens of the text after the image that visual ones are compared with, if it has as many."""

    def __post_init__(self) -> None:
        require(0 < self.depth < 1, "depth", self.depth, "above 0 and below 1")
        for key in ("visual_pivots", "text_pivots"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "a whole number, at least 0")
        require(self.visual_pivots + self.text_pivots > 0, "visual_pivots", self.visual_pivots,
                "at least 1 where there are no text_pivots")  # fmt: skip


DEFAULTS: Final = DartOptions()


@dataclass(frozen=True, kw_only=True)
class DartRank:
    """What stays, as a rule with its numbers of pivots."""

    visual_pivots: int
    text_pivots: int

    def __call__(self, shown: Shown) -> Choice:
        """The pivots and what they take: `shown.count` of the V visual rows."""
        hidden, text = asked(shown.hidden).float(), asked(shown.text_hidden).float()
        norms, text_norms = key_norms(asked(shown.keys)), key_norms(asked(shown.text_keys))
        visual = _first(norms, min(self.visual_pivots, shown.count))
        pivots = torch.cat([hidden[visual], text[_first(text_norms, self.text_pivots)]])
        size = hidden.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(hidden.dtype).tiny)
        cosine = (hidden @ F.normalize(pivots, dim=-1).mT) / size
        return Choice(kept=take_turns(cosine, visual, shown.count))


def key_norms(keys: Tensor) -> Tensor:
    """float32 [V]: the L1 norm of the keys [G, V, d] of each row, heads side by side."""
    return keys.abs().sum(dim=(0, 2), dtype=torch.float32)


def take_turns(cosine: Tensor, pivots: Tensor, count: int) -> Tensor:
    """int64 [count], ascending: the visual pivots, and what each pivot in turn takes.

    Ties to the lower index; a NaN counts as the highest cosine.

    Args:
        cosine: float [V, p], of each visual row with each pivot, in turn.
        pivots: int64 [at most count], those of the V rows that are pivots themselves.
        count: at most V.
    """
    taken = torch.zeros(cosine.shape[0], dtype=torch.long, device=cosine.device)
    taken = taken.index_fill(0, pivots, 1)
    cosine = cosine.where(~cosine.isnan(), torch.inf)
    for turn, quota in enumerate(quotas(count - pivots.shape[0], cosine.shape[1])):
        # By cosine first and then, stable, by whether it is taken: an infinite one may be free.
        order = cosine[:, turn].argsort(stable=True)
        order = order[taken[order].argsort(stable=True)]
        taken = taken.index_fill(0, order[:quota], 1)
    return taken.argsort(descending=True, stable=True)[:count]


def quotas(total: int, pivots: int) -> list[int]:
    """`total` shared equally among the pivots, the rest of the division to the first of them."""
    return [total // pivots + (turn < total % pivots) for turn in range(pivots)]


def _first(norms: Tensor, count: int) -> Tensor:
    """Where the largest norms are, in their order; ties to the lower index, a NaN last."""
    norms = norms.where(~norms.isnan(), -1.0)
    return norms.argsort(descending=True, stable=True)[:count]


def schedule(
    count: int, num_visual: int, num_layers: int, options: DartOptions = DEFAULTS
) -> KeepSchedule:
    """All visual tokens up to layer K, `count` from there on.

    Args:
        count: of visual tokens to keep, at least 1; an image with fewer keeps all it has.
        num_visual: the most that an image brings; has no say.
        num_layers: of the decoder.

    Raises:
        ValueError: if `count` is below 1 or the decoder has a single layer.
    """
    rank = DartRank(visual_pivots=options.visual_pivots, text_pivots=options.text_pivots)
    ranker = Ranker(asks=frozenset({"keys", "hidden"}), rank=rank)
    return make_schedule([options.depth], [count], num_layers, ranker)


METHOD: Final = PairedSelection(
    allocate=allocate_all,
    select=select_all,
    options=DartOptions,
    keeps_all=True,
    schedule=schedule,
)
