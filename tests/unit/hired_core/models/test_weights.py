"""Weights in eight bits: which, how exactly, in how many bytes, and the texts that come of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchao.quantization import Float8Tensor, Int8Tensor

import hired_core
from hired_core.choices import Quantization, WeightFormat
from hired_core.errors import SettingError
from hired_core.models import weights
from hired_core.models.registry import family_of, load_spec
from tests.support.checkpoints import EMBEDDED
from tests.support.families import BUILDERS
from tests.support.halves import picture
from tests.support.models import in_rows

CPU = torch.device("cpu")
KINDS: list[WeightFormat] = ["int8", "fp8"]
TENSORS: dict[WeightFormat, type[Tensor]] = {"int8": Int8Tensor, "fp8": Float8Tensor}
STACKED = re.compile(r"\.(layers|layer|blocks)\.\d+\..*weight$")
IMAGES = [picture(200, 300), picture(120, 90)]


def by_hand(weight: Tensor, kind: WeightFormat) -> Tensor:
    """What eight bits leave of a weight: a scale for each row, the nearest number there is."""
    most = weight.abs().amax(1, keepdim=True)
    if kind == "int8":
        # A row's largest is half a step beyond 127: whether it is 127 or 128 hangs on a float.
        scale = most / 127.5
        return (weight * (1 / scale)).round().clamp(-128, 127) * scale
    scale = most / 448
    return (weight / scale).to(torch.float8_e4m3fn).float() * scale


@pytest.fixture(params=sorted(BUILDERS))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return BUILDERS[request.param](tmp_path, seed=3)


def rounded(folder: Path, kind: WeightFormat) -> Path:
    """A checkpoint whose own weights are what eight bits would leave of them."""
    copy = Path(shutil.copytree(folder, folder.parent / f"{folder.name}-{kind}"))
    stored = load_file(copy / "model.safetensors")
    chosen = {name for name, w in stored.items() if STACKED.search(name) and w.ndim == 2}
    assert any("v_proj" in name for name in chosen)
    changed = {n: by_hand(w.float(), kind) if n in chosen else w for n, w in stored.items()}
    save_file(changed, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_those_of_weights_rounded_by_hand(folder: Path, kind: WeightFormat) -> None:
    """Kept tokens and texts; by both backends."""
    how: dict[str, Any] = {"token_budget": 0.5, "method": "hired", "max_new_tokens": 8, "slots": 2}
    expected = hired_core.load(rounded(folder, kind), **how)
    plain = hired_core.load(folder, **how)
    for backend in ("slots", "reference"):
        found = hired_core.load(folder, quantize=kind, quantize_vision=kind, backend=backend, **how)
        for image in IMAGES:
            kept, wanted = found.reduce(image), expected.reduce(image)
            assert torch.equal(kept.place, wanted.place)
            assert torch.allclose(kept.features, wanted.features, atol=2e-4, rtol=2e-4)
            assert not torch.allclose(kept.features, plain.reduce(image).features, atol=2e-4)
        assert found.caption(IMAGES, "What?") == expected.caption(IMAGES, "What?")


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_layers_and_no_others(folder: Path, kind: WeightFormat) -> None:
    spec = load_spec(str(folder))
    for half, counted in zip(halves(spec, kind), family_of(spec).weights(spec), strict=True):
        there = dict(named_weights(half))
        eight = {name for name, weight in there.items() if isinstance(weight, TENSORS[kind])}
        assert eight and all(there[name].ndim == 2 for name in eight)
        assert not any(re.search("embed|norm|lm_head|lambda|bias", name) for name in eight)
        linears = [n for n, m in half.named_modules() if isinstance(m, nn.Linear)]
        left = {f"{name}.weight" for name in linears} - eight
        assert {name for name in left if "lm_head" not in name and "projector" not in name} == set()
        stored = sum(bytes_of(weight) for weight in distinct(there.values()))
        assert counted.stored_bytes(torch.float32, kind) == stored


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_are_the_nearest_there_are(kind: WeightFormat, dtype: torch.dtype) -> None:
    """Of the shipped model; errors against the weights as they are stored."""
    spec = load_spec(str(EMBEDDED))
    where: dict[str, Any] = {"device": CPU, "dtype": dtype}
    plain = family_of(spec).load_language(spec, **where).decoder
    eight = family_of(spec).load_language(spec, quantized=kind, **where).decoder
    for name, linear in weights.stacked_linears(eight).items():
        exact = in_rows(plain.get_submodule(name).weight).float()
        error = (linear.weight.dequantize().float() - exact).abs()
        step = exact.abs().amax(1, keepdim=True) / 127
        slack = 0.0 if dtype == torch.float32 else 2**-8  # Of the dtype that it is told in.
        near = step / 2 if kind == "int8" else exact.abs() / 16 + step / 16
        assert (error <= near * 1.02 + slack * exact.abs()).all(), name
        assert error.max() > 0
        assert linear.weight.dtype == dtype


def test_what_cannot_be_had_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"^quantize: 'int4' is out of range; allowed: int8, fp"):
        hired_core.load(quantize="int4")  # type: ignore[arg-type]
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    told = r"^quantize_vision: torchao is not installed: pip install 'hired-batch\[quantize\]'$"
    with pytest.raises(SettingError, match=told):
        weights.check_quantization(Quantization(vision="fp8"))
    weights.check_quantization(Quantization())


def halves(spec: Any, kind: WeightFormat) -> tuple[nn.Module, nn.Module]:
    """Modules with all that each half holds."""
    where: dict[str, Any] = {"device": CPU, "dtype": torch.float32, "quantized": kind}
    tower = family_of(spec).load_vision(spec, **where)
    language = family_of(spec).load_language(spec, **where)
    text = nn.ModuleDict({"decoder": language.decoder, "projector": language.projector})
    if language.separators.numel():
        text.register_buffer("separators", language.separators)
    owner = getattr(tower.embed, "args", None)
    return nn.ModuleDict({"tower": owner[0] if owner else visual_of(tower)}), text


def visual_of(tower: Any) -> nn.Module:
    """The module that a packed tower's functions close over."""
    cells = tower.angles.__closure__
    (found,) = [c.cell_contents for c in cells if isinstance(c.cell_contents, nn.Module)]
    return found


def named_weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    if "separators" in dict(module.named_buffers()):
        yield "separators", module.get_buffer("separators")


def distinct(tensors: Any) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def bytes_of(weight: Tensor) -> int:
    if not isinstance(weight, (Int8Tensor, Float8Tensor)):
        return weight.nbytes
    inside = [weight.qdata, weight.scale, getattr(weight, "zero_point", None)]
    return sum(tensor.nbytes for tensor in inside if tensor is not None)
