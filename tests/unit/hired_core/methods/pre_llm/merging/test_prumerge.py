"""PruMerge and PruMerge+: what is kept, and what is merged into it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hired_core.methods.pre_llm.merging.prumerge import comb, nearest, num_outliers
from tests.support.evidence import (
    HEADS,
    SIZES,
    cosine,
    kept,
    layout_of,
    one_partition,
    random_evidence,
    reduce,
)

ATTENTION = torch.tensor([0.4, 0.3, 0.2, 0.1])
KEYS = torch.eye(2)[[0, 1, 0, 1]]


@pytest.mark.parametrize(
    ("merge", "rows"),
    [
        ("average", [[4 / 6, 0, 2 / 6, 0], [0, 3 / 4, 0, 1 / 4]]),
        ("sum", [[1, 0, 0.2, 0], [0, 1, 0, 0.1]]),
    ],
)
def test_rows_by_hand(merge: str, rows: list[list[float]]) -> None:
    """0 and 1 are kept; nearest to them are 2 and 3, of the same keys."""
    evidence = one_partition(attention=ATTENTION, keys=KEYS)
    found = reduce("prumerge", evidence, [2], neighbours=1, merge=merge)
    assert found.place[0, :2].tolist() == [0, 1] and found.count.tolist() == [2]
    assert found.weights is not None
    torch.testing.assert_close(found.weights[0, :2], torch.tensor(rows))


def test_without_neighbours_tokens_are_as_they_are() -> None:
    evidence = one_partition(attention=ATTENTION, keys=KEYS)
    for name in ("prumerge", "prumerge-plus"):
        found = reduce(name, evidence, [4], neighbours=0)
        assert found.weights is not None and torch.equal(found.weights[0], torch.eye(4))


def test_kept_tokens_may_be_neighbours_and_the_lower_index_is_nearer() -> None:
    valid = torch.tensor([True, True, True, False])
    near = nearest(torch.ones(4, 4), valid, 1)
    assert near[:3].nonzero().tolist() == [[0, 1], [1, 0], [2, 0]]
    assert nearest(torch.ones(4, 4), valid, 9)[:3].sum(-1).tolist() == [2, 2, 2]


values = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40)


@given(values, st.lists(st.floats(0, 1, width=32), max_size=5))
def test_outliers_are_those_of_numpy(shown: list[float], padding: list[float]) -> None:
    """Quartiles by linear interpolation; one at least, and padding has no say."""
    first, third = np.percentile(np.array(shown), [25, 75], method="linear")
    above = sum(value > third + 1.5 * (third - first) for value in shown)
    attention = torch.tensor([*padding, *shown], dtype=torch.float64)
    valid = torch.tensor([False] * len(padding) + [True] * len(shown))
    assert int(num_outliers(attention, valid)) == max(1, above)


def test_no_token_no_outlier() -> None:
    assert int(num_outliers(torch.ones(4), torch.zeros(4, dtype=torch.bool))) == 0


@pytest.mark.parametrize(
    ("outliers", "expected"),
    [(1, [0, 5, 10, 15]), (2, [0, 2, 4, 6, 8, 10, 12, 14]), (9, range(16))],
)
def test_combs_by_hand(outliers: int, expected: list[int]) -> None:
    """16 tokens: 16, 8 and 1 apart, a third of it rounded down, but 1 at least."""
    valid = torch.ones(16, dtype=torch.bool)
    assert comb(torch.tensor(outliers), valid).nonzero()[:, 0].tolist() == list(expected)
    behind = torch.cat([torch.zeros(3, dtype=torch.bool), valid])
    found = comb(torch.tensor(outliers), behind).nonzero()[:, 0] - 3
    assert found.tolist() == list(expected)


def tokens_kept(name: str, budget: int, **options: str) -> list[int]:
    """Of 16 tokens, of which 7 stands out and 3 comes next."""
    attention = torch.linspace(0.01, 0.02, 16)
    attention[7], attention[3] = 0.5, 0.025
    evidence = one_partition(attention=attention, keys=torch.eye(16))
    found: list[int] = kept(name, evidence, [budget], **options)[0, 0].nonzero()[:, 0].tolist()
    return found


def test_counts_by_hand() -> None:
    assert tokens_kept("prumerge", 3) == [3, 7, 15]
    assert tokens_kept("prumerge", 3, counts="adaptive") == [7]
    assert tokens_kept("prumerge", 0, counts="adaptive") == []
    # Besides 7, of the 15 others 3 at even strides: the third, the eighth, the thirteenth.
    assert tokens_kept("prumerge-plus", 4) == [2, 7, 8, 13]
    assert tokens_kept("prumerge-plus", 1) == [7]
    assert tokens_kept("prumerge-plus", 16, counts="adaptive") == [0, 5, 7, 10, 15]
    assert tokens_kept("prumerge-plus", 3, counts="adaptive") == [5, 7, 15]  # two of the comb


@pytest.mark.parametrize("merge", ["average", "sum"])
@pytest.mark.parametrize("counts", ["budget", "adaptive"])
@pytest.mark.parametrize("name", ["prumerge", "prumerge-plus"])
def test_recomputed_apart(name: str, counts: str, merge: str) -> None:
    evidence = random_evidence(SIZES, range(6))
    budgets = [80, 19, 31, 64, 22, 40]
    options = {"counts": counts, "merge": merge, "neighbours": 5}
    found = reduce(name, evidence, budgets, **options)
    at_most = reduce(name, evidence, budgets).budgets
    assert found.weights is not None and evidence.keys is not None
    for b, size in enumerate(SIZES):
        layout, rows = layout_of(size), {}
        for p, budget in enumerate(at_most[b, : layout.num_partitions].tolist()):
            tokens = layout.valid[p].nonzero()[:, 0].tolist()
            attention = [
                sum(h) / HEADS for h in evidence.attention["final"][b, p].double().T.tolist()
            ]
            keys = evidence.keys[b, p].double().tolist()
            plus = name == "prumerge-plus"
            for i in chosen(tokens, budget, attention, plus=plus, adaptive=counts == "adaptive"):
                others = [j for j in tokens if j != i]
                near = sorted(others, key=lambda j: -cosine(keys[i], keys[j]))[:5]
                shares = {i: 1.0, **{j: attention[j] for j in near}}
                if merge == "average":
                    shares[i] = attention[i]
                    total = sum(shares.values())
                    shares = {j: share / total for j, share in shares.items()}
                rows[int(layout.place[p, i])] = {16 * p + j: share for j, share in shares.items()}
        assert found.place[b, : len(rows)].tolist() == sorted(rows) and len(rows) == found.count[b]
        for place, weights in zip(sorted(rows), found.weights[b], strict=False):
            expected = torch.zeros(weights.shape)
            for patch, weight in rows[place].items():
                expected[patch] = weight
            torch.testing.assert_close(weights, expected, atol=1e-6, rtol=1e-5)


def chosen(
    tokens: list[int], budget: int, attention: list[float], *, plus: bool, adaptive: bool
) -> list[int]:
    """In plain Python: the tokens of a partition that are kept."""
    first, third = np.percentile([attention[i] for i in tokens], [25, 75])
    above = sum(attention[i] > third + 1.5 * (third - first) for i in tokens)
    outliers = min(max(1, above), budget)
    ranked = sorted(tokens, key=lambda i: -attention[i])
    if not plus:
        return ranked[: outliers if adaptive else budget]
    keep = ranked[:outliers]
    offered = tokens
    if adaptive and outliers:
        offered = tokens[:: max(1, len(tokens) // outliers // 3)]
    rest = [i for i in offered if i not in keep]
    more = min(budget - outliers, len(rest))
    return keep + [rest[int((j + 0.5) * len(rest) / more)] for j in range(more)]
