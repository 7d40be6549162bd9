"""DivPrune with the centring correction of Cen-Prune: distances without what all tokens share.

Cosines are of differences to the mean token, and a token weighs by how distinct it is:

    g_i = -mean_{j != i} cos(x_i, x_j), stretched to 0..1
    next = argmax_i g_i * min_{s taken} (1 - cos(x_i - m, x_s - m)),  m the mean token

the first being argmax g. Behind the projector, over the whole image, as `divprune`.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from hired_core.methods.base import Evidence, Needs, given
from hired_core.methods.grouping import GroupedSelection, Groups
from hired_core.methods.pre_llm.similarity.divprune import DivPruneOptions
from hired_core.methods.similarity import cosines, exact_rows, farthest_first, stretched


def distinctiveness(similarity: Tensor, valid: Tensor) -> Tensor:
    """float64 [..., n] in 0..1: minus the mean cosine to the other valid tokens, stretched.

    Args:
        similarity: [..., n, n], uncentred.
    """
    inside = exact_rows(similarity.masked_fill(~valid[..., None, :], 0))
    others = (valid.sum(-1, keepdim=True) - 1).clamp(min=1)
    own = similarity.diagonal(dim1=-2, dim2=-1).double()
    return stretched(-(inside - own) / others, valid)


def pick(evidence: Evidence, groups: Groups, options: DivPruneOptions) -> Tensor:
    """bool [B, G, n], see above."""
    features = groups.of(given(evidence.features))
    weight = distinctiveness(cosines(features), groups.valid)
    centred = cosines(features, groups.valid, centred=True)
    return farthest_first(centred, groups.valid, groups.budgets, groups.most, weight)


METHOD: Final = GroupedSelection(
    pick=pick,
    looks_at=lambda _: Needs(projected=True, pairs="partition"),
    options=DivPruneOptions,
)
