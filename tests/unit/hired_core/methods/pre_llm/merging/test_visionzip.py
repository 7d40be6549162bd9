"""VisionZip: dominant tokens as they are, the others in a few means."""

from __future__ import annotations

import pytest
import torch

from hired_core.methods.pre_llm.merging.visionzip import choose_targets, memberships
from tests.support.evidence import (
    HEADS,
    SIZES,
    WIDTH,
    cosine,
    layout_of,
    one_partition,
    random_evidence,
    reduce,
)


@pytest.mark.parametrize(("contextual", "row"), [("mean", [0, 0.5, 0, 0.5]), ("sum", [0, 1, 0, 1])])
def test_rows_by_hand(contextual: str, row: list[float]) -> None:
    """Two of three rows are 0 and 2, most attended; 1 is the target, which 3 joins."""
    evidence = one_partition(attention=torch.tensor([0.4, 0.1, 0.3, 0.2]), keys=torch.eye(4))
    found = reduce("visionzip", evidence, [3], dominant=2 / 3, contextual=contextual)
    assert found.place[0, :3].tolist() == [0, 1, 2] and found.count.tolist() == [3]
    assert found.weights is not None
    assert found.weights[0, :3].tolist() == [[1, 0, 0, 0], row, [0, 0, 1, 0]]


def test_a_target_that_nothing_joins_is_itself() -> None:
    evidence = one_partition(attention=torch.tensor([0.4, 0.1, 0.3, 0.2]), keys=torch.eye(4))
    for contextual in ("mean", "sum"):
        found = reduce("visionzip", evidence, [4], dominant=0.5, contextual=contextual)
        assert found.weights is not None and torch.equal(found.weights[0], torch.eye(4))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    # Of seven at 1 2 3 5 6 7 9: every seventh, third, second (the first three), each.
    [(0, []), (1, [1]), (2, [1, 5]), (3, [1, 3, 6]), (4, [1, 2, 3, 5]), (7, [1, 2, 3, 5, 6, 7, 9])],
)
def test_targets_by_hand(wanted: int, expected: list[int]) -> None:
    rest = torch.tensor([i in (1, 2, 3, 5, 6, 7, 9) for i in range(10)])
    found = choose_targets(rest, torch.tensor(wanted))
    assert found.nonzero()[:, 0].tolist() == expected


def test_of_targets_alike_the_first_is_joined() -> None:
    rest = torch.tensor([True, True, True, False])
    targets = torch.tensor([True, False, True, False])
    found = memberships(torch.ones(4, 4), rest, targets)
    assert found.nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize("contextual", ["mean", "sum"])
@pytest.mark.parametrize("allocation", ["equal", "content"])
def test_recomputed_apart(allocation: str, contextual: str) -> None:
    evidence = random_evidence(SIZES, range(6))
    options = {"allocation": allocation, "contextual": contextual, "dominant": 0.6}
    found = reduce("visionzip", evidence, [30, 19, 31, 25, 22, 40], **options)
    assert found.weights is not None and evidence.keys is not None
    for b, size in enumerate(SIZES):
        layout, rows = layout_of(size), {}
        for p, budget in enumerate(found.budgets[b, : layout.num_partitions].tolist()):
            tokens = layout.valid[p].nonzero()[:, 0].tolist()
            attention = evidence.attention["final"][b, p].double().sum(0).tolist()
            keys = evidence.keys[b, p].double().unflatten(-1, (HEADS, WIDTH // HEADS)).mean(1)
            for i, shares in zipped(tokens, budget, attention, keys.tolist(), contextual).items():
                rows[int(layout.place[p, i])] = {16 * p + j: w for j, w in shares.items()}
        assert found.place[b, : len(rows)].tolist() == sorted(rows) and len(rows) == found.count[b]
        for place, weights in zip(sorted(rows), found.weights[b], strict=False):
            expected = torch.zeros(weights.shape)
            for patch, weight in rows[place].items():
                expected[patch] = weight
            torch.testing.assert_close(weights, expected, atol=1e-6, rtol=1e-6)


def zipped(
    tokens: list[int], budget: int, attention: list[float], keys: list[list[float]], contextual: str
) -> dict[int, dict[int, float]]:
    """In plain Python: token -> weights of tokens, for each row of a partition."""
    if not budget:
        return {}
    count = min(budget, max(1, int(budget * 0.6 + 0.5)))
    dominant = sorted(tokens, key=lambda i: -attention[i])[:count]
    rest = [i for i in tokens if i not in dominant]
    more = budget - count
    targets = rest[:: max(1, len(rest) // more)][:more] if more else []
    joined: dict[int, list[int]] = {t: [] for t in targets}
    for i in rest:
        if targets and i not in targets:
            joined[max(targets, key=lambda t: cosine(keys[i], keys[t]))].append(i)
    rows = {i: {i: 1.0} for i in dominant}
    for target, members in joined.items():
        if contextual == "sum":
            rows[target] = {target: 1.0} | {i: 1 / len(members) for i in members}
        else:
            rows[target] = {i: 1 / (len(members) + 1) for i in (target, *members)}
    return rows
