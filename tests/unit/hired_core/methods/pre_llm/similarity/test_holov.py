"""HoloV: every stretch of the sequence has its share, by attention and variety."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from hired_core.methods.pre_llm.similarity.holov import chunk_members, chunk_weights
from tests.support.evidence import SIZES, cosine, groups, kept, one_partition, random_evidence


def test_shares_by_hand() -> None:
    """Chunks of two tokens each, one cosine each: it does not vary. Mean attention .2 and .1."""
    evidence = one_partition(attention=torch.tensor([0.3, 0.1, 0.05, 0.15]), features=torch.eye(4))
    for budget, expected in enumerate([set(), {0}, {0, 3}, {0, 1, 3}, {0, 1, 2, 3}]):
        keep = kept("holov", evidence, [budget], chunks=2)[0, 0]
        assert set(keep.nonzero()[:, 0].tolist()) == expected


def test_variety_by_hand() -> None:
    """Even attention; of the first chunk's tokens the last is unlike two that are the same.

    Cosines to the others are (1, 0), (1, 0) and (0, 0): variances 1/4, 1/4, 0, on average 1/6; of
    the second chunk all are 0. Over both the mean is 1/12, and .09 of the attention is shared by
    it: 1 + .09 * 2 against 1.
    """
    similarity = torch.eye(6)
    similarity[0, 1] = similarity[1, 0] = 1
    member = chunk_members(torch.ones(6, dtype=torch.bool), 2)
    found = chunk_weights(torch.full((6,), 0.5), similarity, member)
    torch.testing.assert_close(found, 500 * torch.tensor([1.18, 1.0], dtype=torch.float64))


def test_chunks_are_of_valid_tokens() -> None:
    """Seven of them in three: 3, 2 and 2."""
    valid = torch.tensor([True] * 4 + [False] * 3 + [True] * 3)
    found = chunk_members(valid, 3)
    assert [each.nonzero()[:, 0].tolist() for each in found] == [[0, 1, 2], [3, 7], [8, 9]]
    assert chunk_members(valid, 20).sum(0).tolist() == valid.long().tolist()


def holistic(tokens: list[int], count: int, attention: Any, features: Any, chunks: int) -> set[int]:
    """In plain Python; chunks and shares too."""
    parts: list[list[int]] = [[] for _ in range(chunks)]
    for position, token in enumerate(tokens):
        parts[position * chunks // len(tokens)].append(token)
    variety = {}
    for part in parts:
        for i in part:
            alike = [cosine(features[i], features[j]) for j in part if j != i]
            mean = math.fsum(alike) / max(1, len(alike))
            variety[i] = math.fsum((a - mean) ** 2 for a in alike) / max(1, len(alike))
    scaled = {i: 1000 * sum(attention[i]) for i in tokens}
    level = math.fsum(scaled.values()) / (math.fsum(variety.values()) or math.inf)
    score = {i: scaled[i] + 0.09 * variety[i] * level for i in tokens}
    weight = [math.fsum(score[i] for i in part) / max(1, len(part)) for part in parts]
    given = [0] * chunks
    while sum(given) < count:  # Largest remainder, again for what found no room.
        open_ = [c for c in range(chunks) if given[c] < len(parts[c])]
        total, left = math.fsum(weight[c] for c in open_), count - sum(given)
        quota = {c: left * weight[c] / total for c in open_}
        more = {c: int(quota[c]) for c in open_}
        missing = left - sum(more.values())
        for c in sorted(open_, key=lambda c: more[c] - quota[c])[:missing]:
            more[c] += 1
        for c in open_:
            given[c] = min(given[c] + more[c], len(parts[c]))
    return {
        i
        for part, share in zip(parts, given, strict=True)
        for i in sorted(part, key=lambda i: -sum(attention[i]))[:share]
    }


@pytest.mark.parametrize("chunks", [16, 3])
@pytest.mark.parametrize("allocation", ["equal", "content", "global"])
def test_recomputed_apart(allocation: str, chunks: int) -> None:
    evidence = random_evidence(SIZES, range(6))
    assert evidence.features is not None
    keep = kept("holov", evidence, [20, 9, 31, 25, 12, 40], allocation=allocation, chunks=chunks)
    shown = (evidence.attention["final"].transpose(2, 3), evidence.features)
    for tokens, picked, (attention, features) in groups(
        evidence.layout.valid, keep, allocation, *shown
    ):
        assert picked == holistic(tokens, len(picked), attention, features, chunks)
