"""VisionZip (arXiv:2412.04467): dominant tokens as they are, and the others in a few means.

Of a budget T, `T * dominant` tokens (rounded, at least one) are those with most CLS attention, or
received attention where there is no CLS token. Of the others, in their order, every so-manyth is a
target; each of the rest joins the target whose key is most alike (cosine of keys averaged over
heads), and a contextual token is the mean of a target and what joined it. Rows stand at the
dominant token's or the target's place. Per partition. `contextual=sum` adds the mean of what joined
to the target, as the published code does. Deviations: the CLS token, which the published code hands
on as one more visual token, is none; places follow the image, where the code puts contextual tokens
last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import AllocationOptions, allocation_needs, require_partitions
from hired_core.methods.base import Evidence, Method, Needs, Reduction, given
from hired_core.methods.budget import floor_count
from hired_core.methods.grouping import make_groups
from hired_core.methods.merging import means, merged
from hired_core.methods.scores import feature_importance_score
from hired_core.methods.selection import select_tokens
from hired_core.methods.similarity import cosines

Contextual = Literal["mean", "sum"]


@dataclass(frozen=True, kw_only=True)
class VisionZipOptions(AllocationOptions):
    """Of `visionzip`.

    Attributes:
        dominant: share of the budget for dominant tokens, above 0 to 1; the paper's 54 of 64.
        contextual: `mean`, as the paper, or `sum`, as its code.
    """

    dominant: float = 54 / 64
    contextual: Contextual = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_partitions(self)
        require(0 < self.dominant <= 1, "dominant", self.dominant, "above 0, to 1")
        allowed = get_args(Contextual)
        require(self.contextual in allowed, "contextual", self.contextual, ", ".join(allowed))


def choose_targets(rest: Tensor, wanted: Tensor) -> Tensor:
    """bool [..., N]: `wanted` tokens of `rest`: 0, s, 2s, ..., s = max(1, number // wanted)."""
    position = rest.long().cumsum(-1) - 1
    step = (rest.sum(-1) // wanted.clamp(min=1)).clamp(min=1)[..., None]
    return rest & (position % step == 0) & (position // step < wanted[..., None])


def memberships(similarity: Tensor, rest: Tensor, targets: Tensor) -> Tensor:
    """bool [..., N, N]: row t of a target holds the tokens that join it, itself not among them."""
    joins = rest & ~targets
    nearest = similarity.masked_fill(~targets[..., None, :], -2).argmax(-1)
    index = torch.arange(rest.shape[-1], device=rest.device)
    return (nearest[..., None, :] == index[:, None]) & joins[..., None, :] & targets[..., None]


class VisionZip(Method):
    """See `Method`."""

    options = VisionZipOptions
    merges = True

    def needs(self, options: VisionZipOptions) -> Needs:
        own = Needs(cls_layers=("final",), keys_layer="final", pairs="partition")
        return own.also(allocation_needs(options))

    def reduce(self, evidence: Evidence, budget: Tensor, options: VisionZipOptions) -> Reduction:
        groups, attention = make_groups(evidence, budget, options), evidence.attention["final"]
        wanted = floor_count(groups.budgets.double() * options.dominant + 0.5)
        wanted = torch.minimum(wanted.clamp(min=1), groups.budgets)
        dominant = select_tokens(feature_importance_score(attention), wanted, groups.valid)
        rest = groups.valid & ~dominant
        targets = choose_targets(rest, groups.budgets - wanted)
        keys = given(evidence.keys).unflatten(-1, (attention.shape[2], -1)).mean(-2)
        joined = memberships(cosines(keys), rest, targets)
        own = torch.eye(rest.shape[-1], device=rest.device)
        if options.contextual == "sum":
            return merged(evidence, dominant | targets, own + means(joined))
        return merged(evidence, dominant | targets, means(joined | own.bool()))


METHOD: Final = VisionZip()
