"""Clusters around density peaks, by nearest neighbours: DPC-kNN (Du, Ding and Jia, 2016).

As token merging uses it (TCFormer, SparseVLM), but for the noise that it breaks ties with: here
they go to the lower index. Legend: m rows, c clusters, C width of a row.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def cluster_means(rows: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Means [c, C] in float32, and int64 [c], ascending: the rows at their centres.

    Args:
        rows: float [m, C].
        clusters: c, from 1 to m.
    """
    rows = rows.float()
    distance = distances(rows)
    centre = peaks(distance, clusters)
    member = F.one_hot(nearest(distance, centre), clusters).to(rows.dtype)
    return member.mT @ rows / member.sum(0)[:, None], centre


def distances(rows: Tensor) -> Tensor:
    """float [m, m]: Euclidean distances, divided by the square root of the width.

    Difference by difference, so that equal rows are as far from all others, to the last bit.
    """
    between: Tensor = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return between / math.sqrt(rows.shape[1])


def peaks(distance: Tensor, clusters: int) -> Tensor:
    """int64 [c], ascending: the rows of the largest delta * density, ties to the lower index.

    A row's density is exp(-mean of the squared distances to its c nearest rows, itself among them);
    its delta the distance to the nearest row that is denser (of two as dense, the lower index), or
    the largest distance of all where none is. Computed as logarithms: a density may be too small
    for a number.
    """
    near = distance.sort(dim=-1).values[:, :clusters]
    density = -near.square().mean(-1)
    index = torch.arange(density.shape[0], device=density.device)
    equal_before = (density == density[:, None]) & (index < index[:, None])
    denser = (density > density[:, None]) | equal_before
    delta = distance.where(denser, distance.max()).amin(-1)
    score = delta.log() + density
    return score.argsort(descending=True, stable=True)[:clusters].sort().values


def nearest(distance: Tensor, centre: Tensor) -> Tensor:
    """int64 [m]: which of the centres, int64 [c], is nearest; ties to the lower, a centre its own.

    A centre may be as near to another one: of two equal rows both may be centres.
    """
    closest = distance[centre].sort(dim=0, stable=True).indices[0]
    return closest.scatter(0, centre, torch.arange(centre.shape[0], device=centre.device))


__all__ = ["cluster_means", "distances", "nearest", "peaks"]
