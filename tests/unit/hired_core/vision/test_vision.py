"""The vision encoder against transformers' tower on the same weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import LlavaNextForConditionalGeneration
from transformers.activations import ACT2FN

from hired_core.vision.encoder_layer import QuickGELU, attend, attend_at, project, run_layer
from hired_core.vision.tower import VisionEncoder, VisionTower
from tests.support.checkpoints import build_checkpoint
from tests.support.models import load_spec, load_vision

CPU = torch.device("cpu")


class Encoded(NamedTuple):
    features: Tensor
    initial: Tensor
    final: Tensor


@torch.inference_mode()
def encode_all(tower: VisionTower, partitions: Tensor) -> Encoded:
    """All patches of all partitions, and both layers' attention."""
    encoder = VisionEncoder(tower)
    embedded = encoder.embed(partitions)
    initial = encoder.attention_before(0, embedded)
    last = encoder.encode(embedded)
    final = encoder.attention_of(last, encoder.index_of("final"))
    rows, patches = torch.meshgrid(
        torch.arange(len(partitions)), torch.arange(final.shape[-1]), indexing="ij"
    )
    return Encoded(encoder.finish(last, rows, patches), initial, final)


def vision_of(folder: Path) -> VisionTower:
    return load_vision(load_spec(str(folder)), device=CPU, dtype=torch.float32)


def tower_of(folder: Path) -> Any:
    model = LlavaNextForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval().model.vision_tower


def normalised(partitions: Tensor) -> Tensor:
    """By the published CLIP constants, in float64."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64)[:, None, None]
    return ((partitions.double() / 255 - mean) / std).float()


def partitions_of(count: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def relative_error(mine: Tensor, expected: Tensor) -> float:
    assert mine.shape == expected.shape
    return float((mine - expected).norm() / expected.norm())


def test_features_and_attention_of_the_penultimate_layer(small_checkpoint: Path) -> None:
    partitions = partitions_of(5, 56)
    output = encode_all(vision_of(small_checkpoint), partitions)
    with torch.inference_mode():
        expected = tower_of(small_checkpoint)(
            normalised(partitions), output_hidden_states=True, output_attentions=True
        )
    # Three layers: hidden_states has 4 entries, [-2] is the output of layer index 1.
    assert len(expected.hidden_states) == 4
    assert output.features.shape == (5, 16, 64)
    assert relative_error(output.features, expected.hidden_states[-2][:, 1:]) < 1e-5
    for mine, layer in ((output.initial, 0), (output.final, -2)):
        torch.testing.assert_close(mine, expected.attentions[layer][:, :, 0, 1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("feature_layer", "layers_run"), [(-1, 4), (-2, 3), (-3, 2), (2, 2)])
def test_any_feature_layer(tmp_path: Path, feature_layer: int, layers_run: int) -> None:
    folder = build_checkpoint(tmp_path, seed=5, vision_layers=4, feature_layer=feature_layer)
    tower = vision_of(folder)
    assert len(tower.layers) == layers_run
    partitions = partitions_of(2, 56)
    with torch.inference_mode():
        expected = tower_of(folder)(normalised(partitions), output_hidden_states=True)
    features = encode_all(tower, partitions).features
    assert relative_error(features, expected.hidden_states[feature_layer][:, 1:]) < 1e-5


def test_layers_by_name_and_by_fraction() -> None:
    """Of 23 layers up to the feature layer, LLaVA-Next's; a half is rounded up."""
    tower = VisionTower(
        embed=lambda pixels: pixels,
        layers=list(range(23)),
        has_cls=True,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        device=CPU,
        dtype=torch.float32,
    )
    encoder = VisionEncoder(tower)
    names = {"initial": 0, "middle": 11, "final": 22}
    assert {name: encoder.index_of(name) for name in names} == names  # type: ignore[arg-type]  # Names.
    found = [encoder.index_of(layer) for layer in (0.0, 8 / 22, 0.25, 0.5, 0.74, 1.0)]
    assert found == [0, 8, 6, 11, 16, 22]  # 5.5 and 16.28
    short = VisionEncoder(replace(tower, layers=[0, 1]))
    assert [short.index_of(layer) for layer in (0.0, 0.4, 0.5, 1.0)] == [0, 0, 1, 1]


def test_one_layer_is_both_initial_and_final(tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path, seed=6, vision_layers=2)
    output = encode_all(vision_of(folder), partitions_of(2, 56))
    torch.testing.assert_close(output.initial, output.final, atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [1, 7, 16, 80])
def test_tokens_finished_alone_are_those_finished_together(
    small_checkpoint: Path, count: int
) -> None:
    """Few tokens or all of them, in any order, repeated or not, some partitions without any."""
    tower, partitions = vision_of(small_checkpoint), partitions_of(5, 56)
    whole = encode_all(tower, partitions).features
    encoder = VisionEncoder(tower)
    with torch.inference_mode():
        final = encoder.encode(encoder.embed(partitions))
        generator = torch.Generator().manual_seed(count)
        rows = torch.randint(1, 5, (2, count // 2 + 1), generator=generator)
        patches = torch.randint(0, 16, rows.shape, generator=generator)
        features = encoder.finish(final, rows, patches)
    torch.testing.assert_close(features, whole[rows, patches], atol=1e-5, rtol=1e-5)


def test_attention_at_some_tokens_is_that_of_all_there(small_checkpoint: Path) -> None:
    layer = vision_of(small_checkpoint).layers[0]
    with torch.inference_mode():
        projections = project(layer, torch.randn(3, 17, 64))
        rows, tokens = torch.tensor([2, 0, 2, 2]), torch.tensor([0, 16, 3, 3])
        some = attend_at(projections, rows, tokens)
        torch.testing.assert_close(some, attend(projections)[rows, tokens])


def test_a_layer_run_step_by_step_is_transformers_own(small_checkpoint: Path) -> None:
    layer = vision_of(small_checkpoint).layers[0]
    hidden = torch.randn(2, 17, 64)
    with torch.inference_mode():
        torch.testing.assert_close(run_layer(layer, hidden), layer(hidden, attention_mask=None))


@pytest.mark.parametrize("shape", [(3, 5), (2, 577, 768)])  # the latter goes in several blocks
def test_quick_gelu_is_transformers_own_to_the_bit(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 4
    expected = ACT2FN["quick_gelu"](x)
    assert not torch.equal(x, expected)
    assert torch.equal(QuickGELU()(x), expected)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_activation_is_the_checkpoints(tmp_path: Path, activation: str) -> None:
    folder = build_checkpoint(tmp_path, seed=7)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["hidden_act"] = activation
    (folder / "config.json").write_text(json.dumps(config))
    partitions = partitions_of(2, 56)
    with torch.inference_mode():
        expected = tower_of(folder)(normalised(partitions), output_hidden_states=True)
    features = encode_all(vision_of(folder), partitions).features
    assert relative_error(features, expected.hidden_states[-2][:, 1:]) < 1e-5
