"""CLS rows against eager attention of the same layer, and that no attention map is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

from hired_core.vision.attention import cls_attention, received_attention
from hired_core.vision.encoder_layer import project
from hired_core.vision.tower import VisionTower
from tests.support.models import load_spec, load_vision
from tests.unit.hired_core.vision.test_vision import encode_all

LAYERS = 4
HEADS = 4


class LargestMap(TorchDispatchMode):
    """Most elements in one tensor among those with at least `size` in two dimensions."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.elements = 0
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        for tensor in result if isinstance(result, tuple | list) else [result]:
            shape = tensor.shape if isinstance(tensor, torch.Tensor) else ()
            if sum(length >= self.size for length in shape) >= 2:
                self.elements = max(self.elements, tensor.numel())
        return result


def clip(image_size: int, seed: int = 0) -> Any:
    """A random CLIP tower with eager attention; attention sharp enough to tell patches apart."""
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        image_size=image_size,
        patch_size=14,
    )
    config._attn_implementation = "eager"
    return sharpen(CLIPVisionModel(config))


def siglip(image_size: int) -> Any:
    torch.manual_seed(1)
    config = SiglipVisionConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        image_size=image_size,
        patch_size=14,
        vision_use_head=False,
    )
    config._attn_implementation = "eager"
    return sharpen(SiglipVisionModel(config))


@torch.no_grad()
def sharpen(model: Any) -> Any:
    for name, weight in model.named_parameters():
        if "q_proj" in name or "k_proj" in name:
            weight.normal_(std=0.2)
    return model.eval()


def encoder_of(model: Any) -> Any:
    return getattr(model, "vision_model", model).encoder


@torch.no_grad()
def cls_rows(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    query, key, _ = project(layer, hidden)
    return cls_attention(query, key)


@pytest.mark.parametrize("image_size", [56, 112, 336])
def test_cls_rows_equal_eager_attention(image_size: int) -> None:
    model = clip(image_size)
    pixels = torch.randn(2, 3, image_size, image_size)
    with torch.inference_mode():
        output = model(pixels, output_attentions=True, output_hidden_states=True)
        patches = (image_size // 14) ** 2
        for index, layer in enumerate(encoder_of(model).layers):
            rows = cls_rows(layer, output.hidden_states[index])
            eager = output.attentions[index]
            assert eager.shape == (2, HEADS, patches + 1, patches + 1)
            assert rows.shape == (2, HEADS, patches) and rows.dtype == torch.float32
            assert float((rows - eager[:, :, 0, 1:]).abs().max()) <= 1e-6
            assert float(rows.std()) > 1e-4  # not all alike
            # The rest of the row is CLS's attention to itself.
            torch.testing.assert_close(rows.sum(-1), 1 - eager[:, :, 0, 0], atol=1e-5, rtol=0)


def test_cls_rows_in_half_precision_are_computed_in_float32() -> None:
    model = clip(112)
    hidden = torch.randn(2, 65, 64)
    layer = encoder_of(model).layers[0]
    exact = cls_rows(layer, hidden)
    half = cls_rows(layer.to(torch.bfloat16), hidden.to(torch.bfloat16))
    assert half.dtype == torch.float32
    # From bfloat16 queries and keys on; bfloat16 logits or probabilities would be off by 1e-3.
    with torch.no_grad():
        query, key, _ = project(layer, hidden.to(torch.bfloat16))
        logits = query.double()[:, :, :1] @ key.double().transpose(2, 3) / 16**0.5
        expected = logits.softmax(-1)[:, :, 0, 1:]
    torch.testing.assert_close(half.double(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(half, exact, atol=0.1, rtol=0)


@pytest.mark.parametrize("image_size", [56, 112, 196])
def test_received_attention_equals_the_eager_mean_over_queries(image_size: int) -> None:
    """196 pixels: 196 patches, which the chunks of queries do not divide."""
    for model in (siglip(image_size), clip(image_size)):
        pixels = torch.randn(2, 3, image_size, image_size)
        with torch.inference_mode():
            output = model(pixels, output_attentions=True, output_hidden_states=True)
            for index, layer in enumerate(encoder_of(model).layers):
                query, key, _ = project(layer, output.hidden_states[index])
                mean = received_attention(query, key)
                expected = output.attentions[index].mean(-2)
                assert mean.shape == expected.shape and mean.dtype == torch.float32
                assert float((mean - expected).abs().max()) <= 1e-6


def test_the_probe_sees_the_map_that_eager_attention_builds() -> None:
    model = clip(336)
    with torch.inference_mode(), LargestMap(576) as probe:
        model(torch.randn(1, 3, 336, 336))
    assert probe.elements >= HEADS * 577 * 577


def test_no_map_is_built_while_encoding_336_pixel_partitions(checkpoint_336: Path) -> None:
    tower = load_vision(
        load_spec(str(checkpoint_336)), device=torch.device("cpu"), dtype=torch.float32
    )
    partitions = torch.randint(0, 256, (2, 3, 336, 336), dtype=torch.uint8)
    with LargestMap(576) as probe:
        output = encode_all(tower, partitions)
    assert output.final.shape == (2, 4, 576)
    assert probe.calls > 50
    assert probe.elements == 0


def test_received_attention_holds_a_few_rows_of_the_map_at_most() -> None:
    model = siglip(336)
    model.set_attn_implementation("sdpa")
    tower = VisionTower(
        embed=getattr(model, "vision_model", model).embeddings,
        layers=list(encoder_of(model).layers),
        has_cls=False,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    with LargestMap(576) as probe:
        output = encode_all(tower, torch.zeros(2, 3, 336, 336, dtype=torch.uint8))
    assert output.features.shape == (2, 576, 64)
    assert output.initial.shape == output.final.shape == (2, HEADS, 576)
    assert probe.elements == 0
