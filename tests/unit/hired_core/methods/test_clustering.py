"""Clusters of density peaks: by hand, and row by row in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hired_core.methods.clustering import cluster_means, distances, nearest, peaks
from tests.support.gathered_decoding import density_clusters


def test_two_heaps_on_a_line() -> None:
    """Squared distances to the nearest two, itself one: .5, .5, .5, .5, 2; the last is apart.

    All of the first heap are as dense, so that the lowest is the densest of all.
    """
    rows = torch.tensor([[0.0], [1.0], [10.0], [11.0], [13.0]])
    apart = distances(rows)
    assert apart[0].tolist() == [0, 1, 10, 11, 13]
    assert peaks(apart, 2).tolist() == [0, 2]
    assert nearest(apart, torch.tensor([0, 2])).tolist() == [0, 0, 1, 1, 1]
    means, centre = cluster_means(rows, 2)
    assert means[:, 0].tolist() == pytest.approx([0.5, 34 / 3]) and centre.tolist() == [0, 2]


def test_distances_are_divided_by_the_root_of_the_width() -> None:
    assert distances(torch.tensor([[0.0] * 4, [3.0] * 4])).tolist() == [[0, 3], [3, 0]]


def test_equal_rows_are_clusters_of_their_own_where_there_are_enough() -> None:
    """No cluster is empty: a centre is its own, however near another is."""
    means, centre = cluster_means(torch.ones(4, 3), 3)
    assert centre.tolist() == [0, 1, 2] and means.tolist() == [[1.0] * 3] * 3
    means, centre = cluster_means(torch.ones(1, 3), 1)
    assert centre.tolist() == [0] and means.tolist() == [[1.0] * 3]


def test_rows_so_far_apart_that_densities_vanish() -> None:
    """exp(-5e7) is 0 in any float; that the last two are denser than the others is not lost."""
    rows = torch.tensor([[60000.0], [30000.0], [10000.0], [0.0]])
    assert peaks(distances(rows), 2).tolist() == [2, 3]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 6))
def test_as_recomputed_row_by_row(seed: int, num_rows: int, width: int) -> None:
    rows = torch.randn(num_rows, width, generator=torch.Generator().manual_seed(seed))
    clusters = 1 + seed % num_rows
    means, centre = cluster_means(rows, clusters)
    expected = density_clusters(rows.double(), range(num_rows), clusters)
    assert centre.tolist() == sorted(expected)
    wanted = torch.stack([rows.double()[expected[i]].mean(0) for i in sorted(expected)])
    torch.testing.assert_close(means.double(), wanted, atol=1e-5, rtol=1e-5)
