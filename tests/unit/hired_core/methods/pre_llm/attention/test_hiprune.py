"""HiPrune: anchors of a middle layer with their neighbours, then registers of a deep one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hired_core.methods.registry import make_options
from tests.support.evidence import SIZES, groups, kept, one_partition, random_evidence

LAYER = make_options("hiprune", {}).object_layer


def tokens_kept(early: Tensor, late: Tensor, budget: int, **options: float) -> set[int]:
    evidence = one_partition(attention=early)
    layer = options.get("object_layer", LAYER)
    received = {layer: early[None, None, None], "final": late[None, None, None]}
    found = kept("hiprune", replace(evidence, received=received), [budget], **options)
    return set(found[0, 0].nonzero()[:, 0].tolist())


def ranked(*best: int) -> Tensor:
    """Scores of 16 patches: these first, then the others from the first on."""
    order = [*best, *(i for i in range(16) if i not in best)]
    scores = torch.empty(16)
    scores[order] = torch.arange(16, 0, -1).float() / 100
    return scores


@pytest.mark.parametrize(
    ("anchor", "buffers"),
    [(0, {1, 4}), (3, {2, 7}), (4, {0, 5, 8}), (6, {2, 5, 7, 10}), (15, {11, 14})],
)
def test_neighbours_by_hand(anchor: int, buffers: set[int]) -> None:
    """One anchor of 4 x 4 patches; a row's end has no neighbour in the next row."""
    late = ranked(12, 13)
    chosen = tokens_kept(ranked(anchor), late, len(buffers) + 3, anchors=5 / (len(buffers) + 3))
    assert chosen == {anchor, *buffers, 12, 13}


def test_the_papers_layer() -> None:
    """The ninth, 8, on the way to 22."""
    assert int(LAYER * 22 + 0.5) == 8


def test_how_many_anchors_by_hand() -> None:
    """A tenth of 20 in fives is .4 of an anchor: none. Of 25, .5: one."""
    early, late = ranked(5), ranked(*range(15, -1, -1))
    assert tokens_kept(early, late, 12) == set(range(4, 16))
    assert tokens_kept(early, late, 3, anchors=0.8) == {13, 14, 15}  # 0.48 of an anchor
    assert tokens_kept(early, late, 3, anchors=0.85) == {1, 4, 5}  # 0.51: it, and of 1 4 6 9


@pytest.mark.parametrize("anchor", range(16))
def test_an_anchor_stays_where_its_buffers_are_too_many(anchor: int) -> None:
    """Of 3 tokens .6 of an anchor is one, and with its buffers up to five."""
    assert anchor in tokens_kept(ranked(anchor), ranked(), 3, anchors=1.0)


def test_the_layer_of_objects_is_an_option() -> None:
    assert tokens_kept(ranked(9), ranked(3), 3, anchors=1.0, object_layer=0.5) == {5, 8, 9}


@pytest.mark.parametrize("allocation", ["equal", "globalcom2", "global"])
def test_recomputed_apart(allocation: str) -> None:
    evidence = random_evidence(SIZES, range(6))
    keep = kept("hiprune", evidence, [40, 19, 31, 45, 22, 50], allocation=allocation, anchors=0.6)
    early, late = (evidence.received[layer].transpose(2, 3) for layer in (LAYER, "final"))
    some = 0
    for tokens, picked, (first, last) in groups(
        evidence.layout.valid, keep, allocation, early, late
    ):
        count = int(len(picked) * 0.6 / 5 + 0.5)
        anchors = sorted(tokens, key=lambda i: -sum(first[i]))[:count]
        near = {
            n
            for i in anchors
            for n in (i - 4, i + 4, i - 1, i + 1)
            if n // 16 == i // 16 and (n // 4 == i // 4 or n % 4 == i % 4) and n in tokens
        } - set(anchors)
        rest = sorted(set(tokens) - near - set(anchors), key=lambda i: -sum(last[i]))
        assert picked == set([*anchors, *sorted(near), *rest][: len(picked)])
        some += count
    assert some > 5
