"""The least possible time, by hand."""

from __future__ import annotations

from lab.benchmark.contestants.models import PRESETS, preset_config
from lab.benchmark.roofline.work import (
    TextShape,
    VisionShape,
    Work,
    decode_work,
    prefill_work,
    text_shape,
    vision_shape,
    vision_work,
)

VISION = VisionShape(width=2, mlp=3, layers=2, patch_values=5, num_patches=4)
TEXT = TextShape(
    width=4, mlp=6, layers=2, heads=2, kv_heads=1, head_dim=2, vocabulary=10, vision_width=3
)


def test_vision() -> None:
    # A layer's weights: 4 * 2 * 2 + 2 * 2 * 3 = 28; all: 2 * 28 + 5 * 2 = 66.
    work = vision_work(VISION, partitions=3, images=2, itemsize=4)
    patches = 2 * 3 * 4 * 5 * 2
    layer = 2 * (3 * 5) * 28 + 4 * 3 * 25 * 2
    assert work == Work(flop=patches + 2 * layer, bytes=66 * 4 / 2)


def test_prefill() -> None:
    # A layer: 4 * (2*2 + 2*1) * 2 + 3 * 4 * 6 = 120; head 40; projector 4 * (3 + 4) = 28.
    work = prefill_work(TEXT, length=3, kept=2, slots=2, itemsize=4)
    attention = 4 * 2 * 2 * (1 + 2 + 3)
    assert work.flop == 2 * 2 * 28 + 2 * (2 * 3 * 120 + attention) + 2 * 40
    # The cache: 2 layers of keys and values of one head of 2, for 3 positions.
    assert work.bytes == 4 * ((2 * 120 + 40 + 28) / 2 + 3 * 8)


def test_decode() -> None:
    """Two steps, that see 4 and 5 positions."""
    work = decode_work(TEXT, length=3, new_tokens=3, slots=2, itemsize=4)
    step = 2 * (2 * 120 + 40)
    assert work.flop == 2 * step + 4 * 2 * 2 * 2 * (4 + 5)
    assert work.bytes == 4 * (2 * 280 / 2 + 8 * (4 + 5))


def test_what_takes_longer_decides() -> None:
    work = Work(flop=10, bytes=6)
    assert work.least_sec(flop_per_sec=10, bytes_per_sec=2) == 3
    assert work.least_sec(flop_per_sec=2, bytes_per_sec=2) == 5


def test_shapes_of_the_7b_preset() -> None:
    config = preset_config(PRESETS["7b"])
    text, vision = text_shape(config), vision_shape(config.vision_config, 22)
    assert 6.4e9 < text.layers * text.layer_weights < 6.5e9
    assert text.kv_values * 2 == 2**19  # Half a MiB a position in fp16.
    assert (vision.layers, vision.num_patches, vision.patch_values) == (23, 576, 588)
