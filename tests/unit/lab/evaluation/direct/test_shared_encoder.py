"""An encoder that several methods share gives each what an encoder of its own would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hired_core.methods.base import Needs
from hired_core.vision.tower import FinalLayer, VisionEncoder, VisionTower
from lab.evaluation.direct.shared_encoder import SharedEncoder, SharedProjector
from tests.support.halves import Halves

NEEDS = [Needs(cls_layers=("initial",), received_layers=("initial",)), Needs(keys_layer="initial")]
PARTITION, PATCH = torch.tensor([[0, 2], [1, 1]]), torch.tensor([[3, 0], [5, 6]])


class Counts:
    """Of a tower: what it embedded, and how often its first layer ran to its end."""

    def __init__(self, tower: VisionTower) -> None:
        self.embedded = self.passes = 0
        self.handle = tower.layers[0].layer_norm2.register_forward_hook(self.count)
        self.tower = replace(tower, embed=lambda pixels: self.embed(tower, pixels))

    def embed(self, tower: VisionTower, pixels: Tensor) -> Tensor:
        self.embedded += 1
        return tower.embed(pixels)

    def count(self, *_: object) -> None:
        self.passes += 1


@pytest.fixture(scope="module")
def tower(small_checkpoint: Path) -> VisionTower:
    return Halves(small_checkpoint).vision.tower


def pixels(seed: int, number: int = 3) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (number, 3, 56, 56), dtype=torch.uint8, generator=random)


def shown(encoder: VisionEncoder, final: FinalLayer) -> list[Tensor]:
    """All that can be asked of the final layer, the last two twice."""
    last = len(encoder.tower.layers) - 1
    return [
        encoder.attention_of(final, 0),
        encoder.attention_of(final, last),
        encoder.received_at(final, 0),
        encoder.received_at(final, last),
        encoder.keys_at(final, 0),
        encoder.keys_at(final, last),
        *2 * [encoder.finish_all(final)],
        *2 * [encoder.finish(final, PARTITION, PATCH)],
        encoder.finish(final, PARTITION, PATCH.flip(0)),
    ]


@torch.inference_mode()
def test_shows_what_an_encoder_of_one_s_own_shows(tower: VisionTower) -> None:
    """Of two sets of partitions in turns, each asked for by some of its layers at a time."""
    shared, own = SharedEncoder(tower, NEEDS), VisionEncoder(tower)
    assert len(tower.layers) > 1
    for _ in range(2):
        for seed in (1, 2):
            wanted = own.encode(own.embed(pixels(seed)), {0}, {0}, 0)
            shared.encode(shared.embed(pixels(seed)), {0})
            final = shared.encode(shared.embed(pixels(seed)), {0}, {0}, 0)
            for one, other in zip(shown(shared, final), shown(own, wanted), strict=True):
                assert torch.equal(one, other)


@torch.inference_mode()
def test_the_tower_runs_once_for_all_until_it_forgets(tower: VisionTower) -> None:
    counts = Counts(tower)
    shared = SharedEncoder(counts.tower, NEEDS)
    for asked in (set(), {0}, {0, 1}):
        final = shared.encode(shared.embed(pixels(1)), asked, {0} & asked, 0)
        shown(shared, final)
        assert shared.finish_all(final) is shared.finish_all(final)
    # The first layer's own end is passed once; the last one's `finish` is another layer's.
    assert (counts.embedded, counts.passes) == (1, 1)
    shared.forget()
    shared.encode(shared.embed(pixels(1)))
    assert (counts.embedded, counts.passes) == (2, 2)
    counts.handle.remove()


@torch.inference_mode()
def test_what_nobody_announced_costs_a_pass_and_is_right(tower: VisionTower) -> None:
    counts = Counts(tower)
    shared, own = SharedEncoder(counts.tower), VisionEncoder(tower)
    embedded = shared.embed(pixels(1))
    first, second = shared.encode(embedded), shared.encode(embedded, {0}, keys=0)
    assert counts.passes == 2
    counts.handle.remove()
    wanted = own.encode(own.embed(pixels(1)), {0}, keys=0)
    assert torch.equal(second.attention[0], wanted.attention[0])
    assert torch.equal(shared.keys_at(second, 0), own.keys_at(wanted, 0))
    assert torch.equal(shared.finish_all(first), own.finish_all(wanted))


@torch.inference_mode()
def test_left_out_partitions_are_encoded_as_they_come(tower: VisionTower) -> None:
    """As of a method that skips sub-images: what it encodes is no image that was seen."""
    shared, own = SharedEncoder(tower, NEEDS), VisionEncoder(tower)
    whole = shared.embed(pixels(1))
    shared.encode(whole, {0})
    for rows in (whole[:2], whole[1:]):
        final, wanted = shared.encode(rows, {0}, {0}, 0), own.encode(rows, {0}, {0}, 0)
        assert torch.equal(shared.received_at(final, 1), own.received_at(wanted, 1))
        assert torch.equal(shared.finish_all(final), own.finish_all(wanted))


def test_projector_projects_a_tensor_once() -> None:
    plain = nn.Linear(4, 3)
    shared, features = SharedProjector(plain), torch.rand(2, 4)
    first = shared(features)
    assert torch.equal(first, plain(features)) and shared(features) is first
    assert torch.equal(shared(features + 1), plain(features + 1))
    shared.forget()
    again = shared(features)
    assert again is not first and torch.equal(again, first)
