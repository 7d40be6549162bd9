"""What the vision half takes while it compares tokens is what the memory plan says."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from hired_core.backends.slots import memory
from hired_core.backends.slots.workspace import encode_bytes
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.registry import make_options, method
from hired_core.vlm import sizing
from tests.support.checkpoints import build_checkpoint
from tests.support.evidence import PAIRS
from tests.support.halves import Halves, picture
from tests.support.live_bytes import LiveBytes
from tests.support.settings import reduction

IMAGES = 3
COMPARING = [
    (name, allocation)
    for name, allocation in PAIRS
    if allocation in ("equal", "global")
    and method(name).needs(make_options(name, {"allocation": allocation})).pairs is not None
]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Halves:
    """Partitions of 144 patches, so that pairs of an image take more than a layer does."""
    return Halves(build_checkpoint(tmp_path_factory.mktemp("wide"), seed=5, partition_size=168))


def planned(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> dict[str, Any]:
    """What `slot_layout` says of the vision half."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(memory, "lay_out_slots", lambda _, **given: seen.update(given))
    sizing.slot_layout(
        spec,
        reduction(**settings),
        text_positions=10,
        max_new_tokens=4,
        dtype=torch.float32,
        limit_bytes=10**12,
        max_slots=1,
        on_gpu=False,
        images=IMAGES,
    )
    return {key: seen[key] for key in ("row_width", "all_features", "pairs")}


@pytest.mark.parametrize(("name", "allocation"), COMPARING)
def test_the_plan_covers_what_is_taken(
    halves: Halves, name: str, allocation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"method": name, "allocation": allocation, "token_budget": 0.05}
    plan = planned(halves.spec, monkeypatch, **settings)
    with LiveBytes() as live:
        halves.encode([picture(336, 336)] * IMAGES, reduction(**settings))
    common = {"num_images": IMAGES, "value_bytes": 4, "on_gpu": False}
    predicted = encode_bytes(halves.spec, **common, **plan)
    assert predicted / 4 < live.peak <= predicted
    if allocation == "global":
        assert live.peak > encode_bytes(halves.spec, **common, **(plan | {"pairs": None}))


def test_live_bytes_by_hand() -> None:
    """Two of 4000 bytes and their sum at most; views and what is written in place are nothing."""
    with LiveBytes() as live:
        first = torch.ones(1000)
        second = (first * 2).view(10, 100)
        third = first.add_(1) + second.flatten()
        del first, second
        third = third * 2
    assert live.peak == 12000 and third.nbytes == 4000


def test_what_is_planned_for(halves: Halves, monkeypatch: pytest.MonkeyPatch) -> None:
    """Projected features are those of all patches, whether or not rows are sums."""
    both = {
        name: planned(halves.spec, monkeypatch, method=name)
        for name in ("divprune", "scope", "visionzip", "uniform", "average-pool")
    }
    assert both == {
        "divprune": {"row_width": 128, "all_features": True, "pairs": "image"},
        "scope": {"row_width": 64, "all_features": True, "pairs": "partition"},
        "visionzip": {"row_width": 64, "all_features": True, "pairs": "partition"},
        "uniform": {"row_width": 64, "all_features": False, "pairs": None},
        "average-pool": {"row_width": 128, "all_features": True, "pairs": None},
    }


def test_pairs_by_hand(halves: Halves) -> None:
    """LLaVA-Next-7B's, eight images of five partitions of 576, in fp16: GiB beside the model's."""
    spec = dataclasses.replace(
        halves.spec,
        geometry=dataclasses.replace(
            halves.spec.geometry, pinpoints=((672, 672),), partition_size=336
        ),
        vision_width=1024,
        vision_inner=4096,
    )
    common = {"num_images": 8, "value_bytes": 2, "on_gpu": True, "all_features": True}
    plain = encode_bytes(spec, row_width=1024, **common)
    within = encode_bytes(spec, row_width=1024, pairs="partition", **common)
    assert within - plain == 40 * 576 * 4 * (1024 + 6 * 576)
    projected = encode_bytes(spec, row_width=4096, **common)
    across = encode_bytes(spec, row_width=4096, pairs="image", **common)
    assert across - projected == 40 * 576 * 4 * (4096 + 4 * 2880)
