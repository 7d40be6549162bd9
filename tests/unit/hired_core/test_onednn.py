"""Reordered weights: the results of plain ones, in any shape, and where there are none."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hired_core
from hired_core import onednn
from hired_core.models.registry import family_of, load_spec
from hired_core.models.weights import stacked_linears
from hired_core.onednn import OneDnnLinear, plus, silu, times
from tests.support.families import BUILDERS
from tests.support.halves import picture

SHAPES = [(1, 48), (16, 48), (616, 48), (3, 50, 48), (0, 48)]

pytestmark = pytest.mark.skipif(not onednn.is_there(), reason="torch without oneDNN")


def exactly(linear: nn.Linear, x: Tensor) -> Tensor:
    """In float64."""
    weight = linear.weight.detach().double()
    bias = None if linear.bias is None else linear.bias.detach().double()
    return F.linear(x.double(), weight, bias)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_it_is_the_layer_and_what_follows(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(48, 80, bias=bias)
    x, other = torch.randn(shape), torch.randn(*shape[:-1], 80)
    reordered, expected = OneDnnLinear(linear), exactly(linear, x)
    before = other.clone()
    found = [
        (reordered(x), expected),
        (silu(reordered, x), F.silu(expected)),
        (plus(reordered, x, other), expected + before),
    ]
    assert torch.equal(other, before)
    found.append((times(reordered, x, other), expected * before))
    for one, wanted in found:
        assert one.shape == wanted.shape and torch.allclose(one.double(), wanted, atol=2e-6)
    assert torch.equal(reordered.weight.to_dense(), linear.weight)


@torch.inference_mode()
def test_a_copy_is_a_plain_layer() -> None:
    linear = nn.Linear(24, 40)
    copied = copy.deepcopy(nn.Sequential(OneDnnLinear(linear)))[0]
    assert type(copied) is nn.Linear and torch.equal(copied.weight, linear.weight)
    assert torch.equal(copied.bias, linear.bias) and copied.double().weight.dtype == torch.float64
    assert copy.deepcopy(OneDnnLinear(nn.Linear(24, 40, bias=False))).bias is None


def test_other_layers_do_the_same_in_steps() -> None:
    torch.manual_seed(0)
    linear, x, other = nn.Linear(48, 80), torch.randn(5, 48), torch.randn(5, 80)
    for how in (plus, times):
        one = how(linear, x, other.clone())
        assert torch.allclose(one, how(OneDnnLinear(linear), x, other.clone()), atol=2e-6)
    assert torch.allclose(silu(linear, x), silu(OneDnnLinear(linear), x), atol=2e-6)


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_weights_of_every_family_are_reordered_as_they_are_loaded(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of float32 on a CPU; without them the same tokens are kept and the same texts said."""
    folder = BUILDERS[name](tmp_path, seed=3)
    spec, cpu = load_spec(str(folder)), torch.device("cpu")
    decoder = family_of(spec).load_language(spec, device=cpu, dtype=torch.float32).decoder
    assert not stacked_linears(decoder)
    assert any(isinstance(module, OneDnnLinear) for module in decoder.modules())
    half = family_of(spec).load_language(spec, device=cpu, dtype=torch.bfloat16).decoder
    assert stacked_linears(half)
    images = [picture(200, 300), picture(120, 90)]
    found = hired_core.load(folder, token_budget=0.5, method="hired", max_new_tokens=8, slots=2)
    monkeypatch.setattr(onednn, "is_there", lambda: False)
    plain = hired_core.load(folder, token_budget=0.5, method="hired", max_new_tokens=8, slots=2)
    assert stacked_linears(plain.language.backend.model.decoder)  # type: ignore[attr-defined]  # Slots.
    assert found.caption(images, "What?") == plain.caption(images, "What?")
    for one, other in zip(found.reduce(images), plain.reduce(images), strict=True):
        assert torch.equal(one.place, other.place)
        assert torch.allclose(one.features, other.features, atol=2e-4, rtol=2e-4)
