"""How many slots a limit leaves room for, by hand; and that weights are counted as loaded."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hired_core.backends.base import GIB, MemoryLimitError
from hired_core.backends.slots.memory import SlotLayout, lay_out_slots
from hired_core.geometry.spec import ModelSpec
from tests.support import models
from tests.support.checkpoints import EMBEDDED, build_checkpoint
from tests.support.geometry import anyres

CPU = torch.device("cpu")
SEVEN = dataclasses.replace(
    models.load_spec("embedded"),
    text_width=4096,
    text_inner=11008,
    query_width=4096,
    kv_width=4096,
    vocab_size=32064,
    kv_values_per_token=2 * 32 * 32 * 128,
)
"""The language model of LLaVA-Next-7B: 32 layers of 32 heads of 128."""
SEVEN_BYTES = 2 * 6_760_000_000


LIBRARIES = 64 * 1024**2


def seven_step(slots: int, length: int) -> int:
    """Rows, logits once more in float32, and the mask twice."""
    return slots * (2 * (2 * 4096 + 2 * 11008 + 32064) + 4 * 32064 + length * 3)


def lay_out_7b(max_length: int, limit_gib: float, **changed: int) -> SlotLayout:
    given = {
        "max_length": max_length,
        "value_bytes": 2,
        "weight_bytes": SEVEN_BYTES,
        "limit_bytes": int(limit_gib * GIB),
        "max_slots": 256,
        "on_gpu": True,
    }
    return lay_out_slots(SEVEN, **(given | changed))  # type: ignore[arg-type]


def test_a_slot_of_the_7b_model() -> None:
    """Half a MiB a position, in fp16; a workspace that a hand can follow."""
    layout = lay_out_7b(700, 24)
    assert layout.slot_bytes == 704 * 2**19  # In blocks of 16 positions.
    # The prompt's embeddings twice; for each position, in attention, the width twice, queries four
    # times and keys and values four times: more than in the MLP.
    values = 2 * 700 * 4096 + 700 * 10 * 4096
    # A step's memory is its graph's, and comes on top; as do two workspaces of the library.
    step = seven_step(layout.num_slots, 700)
    assert layout.workspace_bytes == 2 * values + step + LIBRARIES
    assert (
        layout.num_slots == (24 * GIB - SEVEN_BYTES - layout.workspace_bytes) // layout.slot_bytes
    )
    assert layout.num_slots == 32
    assert layout.total_bytes == SEVEN_BYTES + 32 * 704 * 2**19 + layout.workspace_bytes
    assert layout.total_bytes <= 24 * GIB


def test_a_fifth_of_the_tokens_is_four_times_the_slots() -> None:
    """576 of 2880 visual tokens and 48 newlines; 60 words and 64 new tokens."""
    dense, fifth = lay_out_7b(2928 + 124, 24), lay_out_7b(576 + 124, 24)
    assert (dense.num_slots, fifth.num_slots) == (7, 32)
    # The longer prompt is read in chunks, each under a mask.
    reading = 2 * (2 * 3052 * 4096 + 1024 * 10 * 4096 + 1024 * 3052)
    assert dense.workspace_bytes == reading + seven_step(7, 3052) + LIBRARIES


CLIP_L = dataclasses.replace(
    SEVEN,
    geometry=anyres(((672, 672), (336, 672)), 336),
    vision_width=1024,
    vision_inner=4096,
)


def test_the_vision_stage_counts_if_it_is_wider() -> None:
    """Eight images of five partitions, all at once on a GPU, in fp16."""
    given: dict[str, Any] = {
        "max_length": 700,
        "value_bytes": 2,
        "weight_bytes": SEVEN_BYTES,
        "limit_bytes": 24 * GIB,
        "max_slots": 256,
    }
    layout = lay_out_slots(CLIP_L, on_gpu=True, images=8, **given)
    # In a layer, five widths and the MLP's; the pixels; all features, kept ones at the most.
    layer = 40 * 577 * (5 * 1024 + 4096) * 2
    encoding = layer + 40 * 3 * 336**2 + 8 * 2880 * 1024 * 2
    step = seven_step(layout.num_slots, 700)
    assert layout.workspace_bytes == encoding + step + LIBRARIES
    assert layout.workspace_bytes > lay_out_7b(700, 24).workspace_bytes
    # A CPU does one image at a time, and its memory holds more: most of what is freed, features
    # of all slots, and a batch of partitions twice.
    on_cpu = lay_out_slots(CLIP_L, on_gpu=False, images=8, **given)
    one = 7 * 577 * (5 * 1024 + 4096) * 2 + 7 * 3 * 336**2 + 8 * 2880 * 1024 * 2
    prefill = 2 * (2 * 700 * 4096 + 700 * 10 * 4096)
    assert on_cpu.workspace_bytes == (
        int(max(1.25 * one, 2 * prefill))
        + on_cpu.num_slots * 700 * 1024 * 2
        + 2 * 40 * 3 * 336**2
        + 56 * 1024**2
    )
    assert on_cpu.total_bytes <= 0.98 * 24 * GIB


def test_no_more_slots_than_asked_for() -> None:
    assert lay_out_7b(700, 80, max_slots=12).num_slots == 12
    assert lay_out_7b(700, 500).num_slots == 256


def test_no_room_for_a_slot_is_an_error_with_the_numbers() -> None:
    least = lay_out_7b(700, 24, max_slots=1)
    limit = least.total_bytes
    assert lay_out_7b(700, 0, limit_bytes=limit).num_slots == 1
    with pytest.raises(MemoryLimitError) as caught:
        lay_out_7b(700, 0, limit_bytes=limit - 1)
    assert str(caught.value) == (
        f"{limit / GIB:.2f} GiB are needed for one slot (weights 12.59, 700 positions 0.34, "
        f"workspace 0.13), the limit is {limit / GIB:.2f}; "
        "raise it, or lower the token budget or the number of new tokens"
    )
    with pytest.raises(MemoryLimitError, match=r"the limit is 1\.00;"):
        lay_out_7b(700, 1)  # Less than the weights.


specs = st.builds(
    lambda heads, group, layers, inner, vocab: dataclasses.replace(
        SEVEN,
        text_width=heads * group * 64,
        query_width=heads * group * 64,
        kv_width=heads * 64,
        text_inner=inner,
        vocab_size=vocab,
        kv_values_per_token=2 * layers * heads * 64,
    ),
    *(st.integers(1, 8), st.integers(1, 4), st.integers(1, 40)),
    *(st.integers(64, 20_000), st.integers(100, 200_000)),
)


@given(specs, st.integers(2, 5000), st.sampled_from([2, 4]), st.integers(0, 10**10), st.data())
def test_never_over_the_limit_and_never_a_slot_too_few(
    spec: ModelSpec, length: int, value_bytes: int, weights: int, data: st.DataObject
) -> None:
    limit = weights + data.draw(st.integers(0, 10**11))
    most = data.draw(st.integers(1, 300))

    def slots(limit: int) -> int:
        try:
            layout = lay_out_slots(
                spec,
                max_length=length,
                value_bytes=value_bytes,
                weight_bytes=weights,
                limit_bytes=limit,
                max_slots=most,
                on_gpu=True,
            )
        except MemoryLimitError:
            return 0
        assert layout.total_bytes <= limit and 1 <= layout.num_slots <= most
        cells = layout.num_slots * ((length + 15) // 16 * 16)
        assert layout.kv_bytes == cells * value_bytes * spec.kv_values_per_token
        return layout.num_slots

    found = slots(limit)
    assert slots(limit + data.draw(st.integers(0, 10**10))) >= found
    if not found:
        return
    layout = lay_out_slots(
        spec,
        max_length=length,
        value_bytes=value_bytes,
        weight_bytes=weights,
        limit_bytes=10**15,
        max_slots=found,
        on_gpu=True,
    )
    assert slots(layout.total_bytes) == found
    assert slots(layout.total_bytes - 1) < found


@pytest.mark.parametrize(
    "shape",
    [
        {"tied": True},
        {"tied": False},
        {"tied": False, "text_says_tied": True},
        {"tied": True, "text_says_tied": False},
        {"num_key_value_heads": 1, "head_dim": 48},
        {"feature_layer": -1},
        {"feature_layer": 1},
        None,
    ],
)
def test_weights_are_counted_as_they_are_loaded(
    tmp_path: Path, shape: dict[str, Any] | None
) -> None:
    folder = EMBEDDED if shape is None else build_checkpoint(tmp_path, seed=1, **shape)
    spec = models.load_spec(str(folder))
    language = models.load_language(spec, device=CPU, dtype=torch.float32)
    weights = {
        id(weight): weight.numel()
        for part in (language.decoder, language.projector)
        for weight in part.parameters()
    }
    loaded = sum(weights.values()) + language.separators.numel()
    vision, text = models.weight_counts(spec)
    assert text == loaded
    assert vision == tower_weights(spec)


def tower_weights(spec: ModelSpec) -> int:
    """Of the modules that `load_vision` keeps, found through what it hands out."""
    tower = models.load_vision(spec, device=CPU, dtype=torch.float32)
    (owner,) = tower.embed.args  # type: ignore[attr-defined]
    return sum(weight.numel() for weight in owner.parameters())
