"""A method is handed what it says it needs, as transformers' own attention has it, and no more."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from hired_core.images.partition import partition_image
from hired_core.methods.base import Evidence, Method, Needs, NoOptions, Reduction, selection
from hired_core.vlm.vision_half import VisionHalf
from tests.support.checkpoints import build_checkpoint
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

SIZES = [(112, 112), (56, 112), (40, 168)]
LAYERS = {"initial": 0, "middle": 2, "final": 4}


@dataclass
class Spy(Method):
    """Keeps every patch, and what it was shown."""

    needed: Needs
    seen: list[Evidence] = field(default_factory=list)
    keeps_all: bool = True

    def needs(self, options: Any) -> Needs:
        return self.needed

    def reduce(self, evidence: Evidence, budget: Tensor, options: Any) -> Reduction:
        self.seen.append(evidence)
        return selection(evidence, evidence.layout.valid, evidence.capacities)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Halves:
    """Six vision layers, of which layer 4 is the feature layer."""
    return Halves(build_checkpoint(tmp_path_factory.mktemp("deep"), seed=8, vision_layers=6))


def shown(halves: Halves, needed: Needs, monkeypatch: pytest.MonkeyPatch) -> Evidence:
    spy = Spy(needed)
    monkeypatch.setattr(type(reduction()), "resolve", lambda _: (spy, NoOptions()))
    half = VisionHalf(halves.vision, halves.spec, reduction(), halves.language.projector)
    half.encoder.micro_batch = 10_000
    parts = [partition_image(picture(*size), halves.spec.geometry) for size in SIZES]
    half(parts, SIZES, [0] * len(SIZES))
    (evidence,) = spy.seen
    return evidence


@dataclass
class Truth:
    """Of transformers' tower: attention maps [M, H, T, T], keys and features by layer."""

    maps: list[Tensor]
    keys: list[Tensor]
    features: Tensor
    projected: Tensor


@pytest.fixture(scope="module")
def truth(halves: Halves) -> list[Truth]:
    model = AutoModelForImageTextToText.from_pretrained(
        halves.spec.path, dtype=torch.float32, attn_implementation="eager"
    )
    tower = model.model.vision_tower
    mean, std = (torch.tensor(v)[:, None, None] for v in (halves.spec.mean, halves.spec.std))
    found = []
    for size in SIZES:
        parts = partition_image(picture(*size), halves.spec.geometry)
        keys: list[Tensor] = []
        layers = getattr(tower, "vision_model", tower).encoder.layers
        hooks = [
            layer.self_attn.k_proj.register_forward_hook(lambda *a, keys=keys: keys.append(a[2]))
            for layer in layers
        ]
        with torch.inference_mode():
            pixels = (torch.from_numpy(parts) / 255 - mean) / std
            out = tower(pixels, output_attentions=True, output_hidden_states=True)
            features = out.hidden_states[-2][:, 1:]
            projected = model.model.multi_modal_projector(features)
        for hook in hooks:
            hook.remove()
        found.append(
            Truth(maps=list(out.attentions), keys=keys, features=features, projected=projected)
        )
    return found


def given(evidence: Evidence) -> set[str]:
    """Names of what is there."""
    found = {each.name: getattr(evidence, each.name) for each in fields(evidence)}
    return {name for name, value in found.items() if value is not None and value != {}} - {
        "layout",
        "seeds",
        "max_rows",
    }


def check(found: Tensor, expected: list[Tensor]) -> None:
    """[B, P, ...] against [P, ...] of each image."""
    for row, one in enumerate(expected):
        torch.testing.assert_close(found[row, : len(one)], one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_attention(
    halves: Halves, truth: list[Truth], layer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = LAYERS[layer]
    evidence = shown(halves, Needs(cls_layers=(layer,)), monkeypatch)
    assert given(evidence) == {"attention"} and set(evidence.attention) == {layer}
    check(evidence.attention[layer], [t.maps[index][:, :, 0, 1:] for t in truth])
    evidence = shown(halves, Needs(received_layers=(layer,)), monkeypatch)
    assert given(evidence) == {"received"}
    check(evidence.received[layer], [t.maps[index].mean(2)[:, :, 1:] for t in truth])
    evidence = shown(halves, Needs(full_image_layer=layer), monkeypatch)
    assert given(evidence) == {"full_image_attention"}
    assert evidence.full_image_attention is not None
    expected = torch.stack([t.maps[index][0, :, 0, 1:] for t in truth])
    torch.testing.assert_close(evidence.full_image_attention, expected, atol=2e-5, rtol=1e-4)
    evidence = shown(halves, Needs(keys_layer=layer), monkeypatch)
    assert given(evidence) == {"keys"} and evidence.keys is not None
    check(evidence.keys, [t.keys[index][:, 1:] for t in truth])


@pytest.mark.parametrize(("fraction", "index"), [(0.0, 0), (0.3, 1), (0.4, 2), (0.9, 4)])
def test_layers_by_fraction(
    halves: Halves,
    truth: list[Truth],
    fraction: float,
    index: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the way to layer 4."""
    needed = Needs(
        cls_layers=(fraction,),
        received_layers=(fraction, "final"),
        keys_layer=fraction,
        full_image_layer=fraction,
    )
    evidence = shown(halves, needed, monkeypatch)
    assert set(evidence.attention) == {fraction} and set(evidence.received) == {fraction, "final"}
    check(evidence.attention[fraction], [t.maps[index][:, :, 0, 1:] for t in truth])
    check(evidence.received[fraction], [t.maps[index].mean(2)[:, :, 1:] for t in truth])
    check(evidence.received["final"], [t.maps[4].mean(2)[:, :, 1:] for t in truth])
    assert evidence.keys is not None and evidence.full_image_attention is not None
    check(evidence.keys, [t.keys[index][:, 1:] for t in truth])
    full = [t.maps[index][0, :, 0, 1:] for t in truth]
    torch.testing.assert_close(
        evidence.full_image_attention, torch.stack(full), atol=2e-5, rtol=1e-4
    )


def test_features(halves: Halves, truth: list[Truth], monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = shown(halves, Needs(features=True), monkeypatch)
    assert given(evidence) == {"features"} and evidence.features is not None
    check(evidence.features, [t.features for t in truth])
    evidence = shown(halves, Needs(projected=True), monkeypatch)
    assert given(evidence) == {"features"} and evidence.features is not None
    check(evidence.features, [t.projected for t in truth])
    assert given(shown(halves, Needs(), monkeypatch)) == set()


def test_a_method_that_needs_the_projector_is_not_run_without(halves: Halves) -> None:
    settings = reduction(method="average-pool", token_budget=0.25)
    with pytest.raises(ValueError, match="average-pool needs the projector"):
        VisionHalf(halves.vision, halves.spec, settings)
