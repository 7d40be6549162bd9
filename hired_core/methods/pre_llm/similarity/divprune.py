"""DivPrune (arXiv:2503.02175): the tokens that are farthest from each other, whatever they show.

The max-min diversity problem, solved greedily: the distance of two visual tokens,
behind the projector, is 1 - cos; the first token is the one whose nearest other is farthest, each
next one is farthest from the nearest of those taken. Tokens of the whole image compete (allocation
`global`). Neither attention nor text is looked at. Deviation: newlines between rows are no
candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from hired_core.choices import Allocation
from hired_core.methods.allocation import AllocationOptions
from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.similarity import cosines, farthest_first


@dataclass(frozen=True, kw_only=True)
class DivPruneOptions(AllocationOptions):
    """Of `divprune` and `divprune-cen`.

    Attributes:
        allocation: `global`, or how budgets are shared among partitions.
    """

    allocation: Allocation = "global"


def pick(evidence: Evidence, groups: Groups, options: DivPruneOptions) -> Tensor:
    """bool [B, G, n], see `farthest_first`."""
    alike = cosines(groups.of(given(evidence.features)))
    return farthest_first(alike, groups.valid, groups.budgets, groups.most)


METHOD: Final = GroupedSelection(
    pick=pick,
    looks_at=lambda _: Needs(projected=True, pairs="partition"),
    options=DivPruneOptions,
)
