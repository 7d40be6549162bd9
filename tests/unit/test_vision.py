"""The vision encoder against transformers' tower on the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaNextForConditionalGeneration

from hired_core.models.llava_next import load_spec, load_vision
from hired_core.vision import VisionEncoder
from tests.checkpoints import build_checkpoint

CPU = torch.device("cpu")


def encoder_of(folder: Path, *, micro_batch: int = 64) -> VisionEncoder:
    tower = load_vision(load_spec(str(folder)), device=CPU, dtype=torch.float32)
    return VisionEncoder(tower, micro_batch=micro_batch)


def tower_of(folder: Path) -> Any:
    model = LlavaNextForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval().model.vision_tower


def normalised(partitions: torch.Tensor) -> torch.Tensor:
    """By the published CLIP constants, in float64."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073], dtype=torch.float64)[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711], dtype=torch.float64)[:, None, None]
    return ((partitions.double() / 255 - mean) / std).float()


def partitions_of(count: int, size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def relative_error(mine: torch.Tensor, expected: torch.Tensor) -> float:
    assert mine.shape == expected.shape
    return float((mine - expected).norm() / expected.norm())


def test_features_and_attention_of_the_penultimate_layer(small_checkpoint: Path) -> None:
    partitions = partitions_of(5, 56)
    output = encoder_of(small_checkpoint).encode(partitions)
    with torch.inference_mode():
        expected = tower_of(small_checkpoint)(
            normalised(partitions), output_hidden_states=True, output_attentions=True
        )
    # Three layers: hidden_states has 4 entries, [-2] is the output of layer index 1.
    assert len(expected.hidden_states) == 4
    assert output.features.shape == (5, 16, 64)
    assert relative_error(output.features, expected.hidden_states[-2][:, 1:]) < 1e-5
    assert output.initial_attention is not None and output.final_attention is not None
    for mine, layer in ((output.initial_attention, 0), (output.final_attention, -2)):
        torch.testing.assert_close(mine, expected.attentions[layer][:, :, 0, 1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("feature_layer", "layers_run"), [(-1, 4), (-2, 3), (-3, 2), (2, 2)])
def test_any_feature_layer(tmp_path: Path, feature_layer: int, layers_run: int) -> None:
    folder = build_checkpoint(tmp_path, seed=5, vision_layers=4, feature_layer=feature_layer)
    encoder = encoder_of(folder)
    assert len(encoder.tower.layers) == layers_run
    partitions = partitions_of(2, 56)
    with torch.inference_mode():
        expected = tower_of(folder)(normalised(partitions), output_hidden_states=True)
    features = encoder.encode(partitions).features
    assert relative_error(features, expected.hidden_states[feature_layer][:, 1:]) < 1e-5


def test_one_layer_is_both_initial_and_final(tmp_path: Path) -> None:
    folder = build_checkpoint(tmp_path, seed=6, vision_layers=2)
    output = encoder_of(folder).encode(partitions_of(2, 56))
    assert output.initial_attention is not None and output.final_attention is not None
    assert torch.equal(output.initial_attention, output.final_attention)


def test_micro_batches_do_not_show(small_checkpoint: Path) -> None:
    partitions = partitions_of(7, 56)
    whole = encoder_of(small_checkpoint).encode(partitions)
    for micro_batch in (1, 3):
        parts = encoder_of(small_checkpoint, micro_batch=micro_batch).encode(partitions)
        assert relative_error(parts.features, whole.features) < 1e-6
        torch.testing.assert_close(parts.final_attention, whole.final_attention, atol=1e-6, rtol=0)


def test_attention_is_left_out_on_request(small_checkpoint: Path) -> None:
    partitions, encoder = partitions_of(2, 56), encoder_of(small_checkpoint)
    without = encoder.encode(partitions, with_attention=False)
    assert without.initial_attention is None and without.final_attention is None
    assert torch.equal(without.features, encoder.encode(partitions).features)
