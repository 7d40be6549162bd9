"""VisPruner: important tokens, and of the others those that repeat no other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.support.evidence import SIZES, cosine, groups, kept, one_partition, random_evidence

AXES = torch.eye(4)


def tokens_kept(attention: list[float], features: Any, budget: int, **options: float) -> set[int]:
    evidence = one_partition(attention=torch.tensor(attention), features=features)
    return set(kept("vispruner", evidence, [budget], **options)[0, 0].nonzero()[:, 0].tolist())


def test_odd_lists_by_hand() -> None:
    """One important token; 1 and 3 are at even places of the others, 2 at the odd one."""
    features = torch.stack([AXES[0], AXES[1], AXES[1] + AXES[2], AXES[3]])
    attention = [0.4, 0.3, 0.2, 0.1]
    assert tokens_kept(attention, features, 3) == {0, 2, 3}  # 1 is like 2, 3 is not
    assert tokens_kept(attention, features, 2) == {0, 2}  # both go
    # No important token at all; 0 and 2 go, of 1 and 3 the one at the even place.
    assert tokens_kept(attention, features, 1) == {3}
    assert tokens_kept(attention, features, 1, importance=1) == {0}
    assert tokens_kept(attention, features, 4) == {0, 1, 2, 3}


def test_even_lists_by_hand() -> None:
    """No important token; 3 and 1 are at even places, 2 and 0 at odd ones: 1 repeats 0."""
    features = torch.stack([AXES[0], AXES[0] + 0.1 * AXES[1], AXES[2], AXES[3]])
    attention = [0.1, 0.2, 0.3, 0.4]
    assert tokens_kept(attention, features, 3, importance=0) == {0, 2, 3}
    # Then 3 at the even place goes: neither it nor 1 is in the list that is left, 2 and 0.
    assert tokens_kept(attention, features, 2, importance=0) == {0, 2}
    assert tokens_kept(attention, features, 1, importance=0) == {0}


def pruned(tokens: list[int], count: int, attention: Any, features: Any, share: float) -> set[int]:
    """In plain Python."""
    ranked = sorted(tokens, key=lambda i: -sum(attention[i]))
    important, rest = ranked[: int(count * share)], ranked[int(count * share) :]
    left = count - len(important)
    while len(rest) > left:
        even, odd = rest[0::2], rest[1::2]
        alike = {a: max((cosine(features[a], features[b]) for b in odd), default=-2) for a in even}
        even.sort(key=lambda a: -alike[a])
        rest = even[min(8, len(rest) - left, len(even)) :] + odd
    return {*important, *rest}


@pytest.mark.parametrize("share", [0.5, 0.75, 0.0])
@pytest.mark.parametrize("allocation", ["equal", "content", "global"])
def test_recomputed_apart(allocation: str, share: float) -> None:
    """Lists of all lengths, odd ones among them; over the image of 45 and more, in many rounds."""
    evidence = random_evidence(SIZES, range(10, 16))
    assert evidence.features is not None
    budgets = [20, 9, 11, 25, 12, 7]
    keep = kept("vispruner", evidence, budgets, allocation=allocation, importance=share)
    shown = (evidence.attention["final"].transpose(2, 3), evidence.features)
    for tokens, picked, (attention, features) in groups(
        evidence.layout.valid, keep, allocation, *shown
    ):
        assert picked == pruned(tokens, len(picked), attention, features, share)
