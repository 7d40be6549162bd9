"""What reading a prompt takes beside cells, by arithmetic, and counted op by op."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from hired_core.backends.slots.decoder import SlotDecoder
from hired_core.backends.slots.memory import SlotLayout, lay_out_slots
from hired_core.backends.slots.sampling import SlotState
from hired_core.backends.slots.workspace import generate_bytes, read_bytes
from hired_core.language.generation import GenerationSettings
from hired_core.methods.registry import make_options, method
from tests.support.live_bytes import LiveBytes
from tests.support.models import load_spec

BEFORE, VISUAL, AFTER = 20, 1200, 60
LENGTH = BEFORE + VISUAL + AFTER
WIDTH, CHUNK, LAYERS, HEADS, KV_HEADS = 256, 64, 6, 8, 4
"""Chunks so small that prompts take most of it between layers, where they stand as a whole."""

SPEC = dataclasses.replace(
    load_spec("embedded"),
    text_width=WIDTH,
    text_inner=WIDTH,
    query_width=WIDTH,
    kv_width=WIDTH // 2,
    vocab_size=100,
    num_text_layers=LAYERS,
    kv_values_per_token=LAYERS * WIDTH,
)
INSIDE = ("fastv", "pyramiddrop", "sparsevlm", "dart")


def layout(name: str | None, dtype: torch.dtype) -> SlotLayout:
    schedule = None
    if name is not None:
        make = method(name).schedule
        assert make is not None
        schedule = make(VISUAL // 5, VISUAL, LAYERS, make_options(name, {}))
    return lay_out_slots(
        SPEC,
        max_length=LENGTH,
        value_bytes=dtype.itemsize,
        weight_bytes=0,
        limit_bytes=2**33,
        max_slots=1,
        on_gpu=True,
        schedule=schedule,
        num_visual=VISUAL,
        chunk=CHUNK,
    )


def peak(name: str | None, dtype: torch.dtype) -> int:
    config = LlamaConfig(
        vocab_size=100,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=LENGTH,
    )
    decoder = SlotDecoder(LlamaForCausalLM(config).to(dtype).eval(), layout(name, dtype))
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(LENGTH, WIDTH, generator=draw).to(dtype)
    visual = None if name is None else torch.arange(BEFORE, BEFORE + VISUAL)
    with LiveBytes() as live:
        decoder.prefill(rows.clone(), 0, 0, None, visual, AFTER)
    return live.peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", [None, *INSIDE])
def test_nothing_is_taken_that_is_not_counted(name: str | None, dtype: torch.dtype) -> None:
    """And not much is counted that is not taken: no more than three times as much."""
    taken, schedule = peak(name, dtype), layout(name, dtype).schedule
    counted = read_bytes(
        SPEC,
        max_length=LENGTH,
        value_bytes=dtype.itemsize,
        chunk=CHUNK,
        asks=None if schedule is None else schedule.ranker.asks,
        num_text=LENGTH - VISUAL,
    )
    assert taken <= counted <= 3 * taken


def test_what_is_asked_for_is_counted_by_hand() -> None:
    """DART's, for each position in fp16: the prompt three times, keys and hidden states."""
    given: dict[str, Any] = {"max_length": 1000, "value_bytes": 2, "chunk": 8, "num_slots": 1}
    pivots = generate_bytes(SPEC, asks={"keys", "hidden"}, num_text=10, **given)
    position = 3 * 2 * 256 + (2 + 4) * 128 + (2 + 4) * 256 + 1000
    assert pivots == 1000 * position + 10 * 4 * 256
    # FastV's: keys in float32, and an eighth of the queries' width.
    last = generate_bytes(SPEC, asks={"last_attention"}, num_text=10, **given)
    assert last == 1000 * (3 * 2 * 256 + 4 * (128 + 32))
    # Without drops the prompt is never there three times.
    assert generate_bytes(SPEC, **given) < 1000 * 3 * 2 * 256


def test_what_masks_take_is_counted() -> None:
    """In the choice among logits, and what stays from step to step."""
    slots, words = 8, 4096
    settings = GenerationSettings(max_new_tokens=4, min_new_tokens=2, repetition_penalty=1.2)
    spec = dataclasses.replace(SPEC, vocab_size=words)
    given: dict[str, Any] = {"max_length": 10, "value_bytes": 2, "chunk": 8, "num_slots": slots}
    counted = [generate_bytes(spec, masked=masked, **given) for masked in (False, True)]
    with LiveBytes() as live:
        state = SlotState(
            num_slots=slots,
            settings=settings,
            stop_ids=[1],
            device=torch.device("cpu"),
            mask_words=words // 32,
        )
        logits = torch.zeros(slots, words)
        state.advance(logits.clone())
    taken = live.peak
    assert taken <= counted[1] - counted[0] + 8 * 8 * slots <= 1.3 * taken
