"""SparseVLM (arXiv:2410.04417): visual tokens that the words of the question do not look at leave.

Raters are those tokens of the text after the image that match it best at the input:
m_t = mean_v softmax_t(V T^T)[v, t] over embeddings V of the image and T of the text, raters where
m_t lies above the mean. Behind layers 2, 6 and 15 of 32 a visual token's rank is the attention that
raters pay it in the layer that has just run, averaged over raters and heads:

    phi_v = mean_{t in raters} 1/H sum_h A[h, t, v]

Recycling: of m tokens that leave, the 3 m // 10 + 1 of highest phi are gathered in one
cluster for each ten of them (`clusters`), and the means of the clusters go on.

Deviations: the token budget is the count behind the last drop, means of clusters included, where
the published code adds these to its count; means are at most half of it. Counts behind the other
drops stand in the proportions of a row of the published table; the paper's adaptive count is
not in the published code, nor here. A mean is placed behind the image and takes the rotary position
of its cluster's centre, and all others keep theirs, where that code counts positions anew. Ties go
to the lower index, where it adds noise. Where no word is above the mean (a single one), all are
raters. Newlines between rows count as text and stay. Of "SparseVLM+" nothing is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from hired_core.errors import require
from hired_core.methods.allocation import allocate_all
from hired_core.methods.clustering import cluster_means
from hired_core.methods.pairing import PairedSelection
from hired_core.methods.pre_llm.geometric.dense import select_all
from hired_core.methods.schedule import (
    Ask,
    Choice,
    KeepSchedule,
    Ranker,
    Shown,
    asked,
    keep_top,
    make_schedule,
)
from hired_core.methods.scores import exact_sum

FRACTIONS: Final = (3 / 32, 7 / 32, 16 / 32)
"""A drop behind layer 2 is one at the entry of layer 3."""

PROFILES: Final = {
    192: (300, 200, 110),
    128: (303, 110, 36),
    96: (238, 48, 26),
    64: (66, 30, 17),
}
"""The published table: visual tokens of 576 behind each drop, by their published mean."""


@dataclass(frozen=True, kw_only=True)
class SparseVLMOptions:
    """Options of `sparsevlm`."""

    recycle: bool = True
    """Whether some of what is dropped goes on as means of clusters, within the budget."""
    profile: int = 192
    """Row of the published table, 192, 128, 96 or 64, in whose proportions tokens leave."""

    def __post_init__(self) -> None:
        require(self.profile in PROFILES, "profile", self.profile, "192, 128, 96, 64")


DEFAULTS: Final = SparseVLMOptions()


def find_raters(inputs: Tensor, text: Tensor) -> Tensor:
    """bool [T]: text tokens that match the image more than the mean; all, where none does.

    Args:
        inputs: [U, D], embeddings of the visual tokens.
        text: [T, D], of the text after the image.
    """
    match = (inputs.float() @ text.float().mT).softmax(-1)
    total = exact_sum(match, dim=0)
    above = total * total.shape[0] > total.sum()
    return above | ~above.any()


def rated(raters: Tensor, attention: Tensor) -> Tensor:
    """float64 [V]: phi, the mean over raters, bool [T], of attention [T, V]; NaN spreads.

    The same in every order of summation.
    """
    return exact_sum(attention.where(raters[:, None], 0.0), dim=0) / raters.sum()


def split(count: int, num_visual: int) -> tuple[int, int, int]:
    """What becomes of `num_visual` rows: (kept, recycled, clusters); kept + clusters is `count`.

    Of the m that are not kept, 3 m // 10 + 1 are recycled, in one cluster for each ten of them, and
    one more; in no more clusters than half of `count`, and none where there would be none of them.
    """
    clusters = 0
    while True:
        recycled = 3 * (num_visual - count + clusters) // 10 + 1
        wanted = min(recycled // 10 + 1, count // 2)
        if wanted == clusters:
            return count - clusters, recycled if clusters else 0, clusters
        clusters = wanted


def _phi(shown: Shown) -> Tensor:
    raters = find_raters(asked(shown.inputs), asked(shown.text_inputs))
    return rated(raters, asked(shown.text_attention))


def _recycle(shown: Shown) -> Choice:
    phi, hidden = _phi(shown), asked(shown.hidden)
    num_kept, recycled, clusters = split(shown.count, phi.shape[0])
    kept = keep_top(phi, num_kept)
    if not clusters:
        return Choice(kept=kept)
    # Below all phi: those that are no number, and below these the kept.
    rest = phi.where(~phi.isnan(), -1.0).index_fill(0, kept, -2.0)
    rows = keep_top(rest, recycled)
    merged, centre = cluster_means(hidden[rows], clusters)
    return Choice(kept=kept, merged=merged, centre=rows[centre])


_ASKS: Final[frozenset[Ask]] = frozenset({"text_attention", "inputs"})

SELECTING: Final = Ranker(asks=_ASKS, rank=_phi)
RECYCLING: Final = Ranker(asks=_ASKS | {"hidden"}, rank=_recycle)


def drop_counts(count: int, num_visual: int, profile: int) -> list[int]:
    """Visual tokens behind each drop: the table's, scaled to end with `count`, rounded down.

    Args:
        num_visual: of which there are never more.
    """
    table = PROFILES[profile]
    return [max(min(count * each // table[-1], num_visual), count) for each in table]


def schedule(
    count: int, num_visual: int, num_layers: int, options: SparseVLMOptions = DEFAULTS
) -> KeepSchedule:
    """Drops behind layers 2, 6 and 15 of 32; those that fall on one layer are one.

    Args:
        count: of visual tokens behind the last drop, at least 1.
        num_visual: the most that an image brings.
        num_layers: of the decoder.

    Raises:
        ValueError: if `count` is below 1 or the decoder has a single layer.
    """
    counts = drop_counts(count, num_visual, options.profile)
    ranker = RECYCLING if options.recycle else SELECTING
    return make_schedule(FRACTIONS, counts, num_layers, ranker)


METHOD: Final = PairedSelection(
    allocate=allocate_all,
    select=select_all,
    options=SparseVLMOptions,
    keeps_all=True,
    schedule=schedule,
)
