"""The least possible time, by hand."""

from __future__ import annotations

from typing import Any

from lab.benchmark.contestants.models import PRESETS, preset_config
from lab.benchmark.contestants.registry import Entry
from lab.benchmark.contestants.subject import Setting, Subject
from lab.benchmark.images import make_images
from lab.benchmark.roofline.bounds import roofline
from lab.benchmark.roofline.ceilings import Ceilings
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
from lab.benchmark.tables import memory_table

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


def test_mistral_s_cache_is_a_quarter_of_vicuna_s() -> None:
    """In bfloat16: 128 KiB a position, and 512."""
    sizes = [
        2 * text_shape(preset_config(PRESETS[name])).kv_values for name in ("mistral-7b", "7b")
    ]
    assert sizes == [128 * 1024, 512 * 1024]


def test_weights_are_shared_by_no_more_texts_than_there_are() -> None:
    """Of 164 slots over two images, two are busy: each text bears half of the weights."""
    subject = Subject(Setting(model="embedded"))
    images = make_images(2, width=112, height=112)
    found = [
        roofline(subject, images, {ENTRY: summary(slots)}, CEILINGS)["contestants"][ENTRY.name]
        for slots in (1, 2, 164)
    ]
    assert found[2] == found[1] != found[0]


ENTRY = Entry(budget=0.2)
CEILINGS = Ceilings(
    vision_flop_per_sec=1e9,
    prefill_flop_per_sec=1e9,
    read_bytes_per_sec=1e6,  # So slow that bytes decide.
    copy_bytes_per_sec=1e6,
)


def summary(slots: int) -> dict[str, Any]:
    seconds = {f"{phase}_sec": 1.0 for phase in ("vision", "prefill", "decode")}
    return {
        "slots": slots,
        "sec_per_image": seconds,
        "images_per_sec": {"median": 1.0},
        "tokens_per_sec": {"median": 8.0},
    }


def test_a_process_that_died_has_a_line_of_its_own() -> None:
    died = {"budget": 0.2, "dtype": "float32", "limit_gib": 0.75, "exit_code": -9}
    table = memory_table("peak", [died])
    assert table.rows == [["budget 0.2, float32", "exit code -9", "0.750", "-", "-", "-"]]
