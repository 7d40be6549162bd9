"""What a backend says it has room for, and that its caches take exactly that."""

from __future__ import annotations

from pathlib import Path

import pytest

from hired_core.backends.base import Backend, Capacity, UnsupportedScheduleError
from hired_core.backends.reference import ReferenceBackend
from hired_core.backends.slots.backend import SlotBackend
from hired_core.backends.slots.memory import SlotLayout, lay_out_slots
from hired_core.language.generation import GenerationSettings
from hired_core.methods.in_llm import fastv
from hired_core.methods.schedule import KeepSchedule
from tests.support.checkpoints import build_checkpoint
from tests.support.halves import Halves

SETTINGS = GenerationSettings(max_new_tokens=8)
PYRAMID = KeepSchedule(layers=(1, 3), counts=(40, 10), ranker=fastv.RANKER)
SCHEDULES = {"none": None, "fastv": fastv.schedule(10, 100, 5), "pyramid": PYRAMID}


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Halves:
    """Five layers of two key-value heads of 24: narrower than its width by more than GQA."""
    folder: Path = tmp_path_factory.mktemp("deep")
    return Halves(build_checkpoint(folder, seed=7, num_hidden_layers=5, head_dim=24))


def lay_out(
    halves: Halves,
    schedule: KeepSchedule | None,
    *,
    limit_bytes: int = 2**30,
    max_slots: int = 7,
    on_gpu: bool = True,
) -> SlotLayout:
    return lay_out_slots(
        halves.spec,
        max_length=200,
        value_bytes=4,
        weight_bytes=1000,
        limit_bytes=limit_bytes,
        max_slots=max_slots,
        on_gpu=on_gpu,
        rotary_length=300,
        schedule=schedule,
        num_visual=100,
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_cells_take_what_the_layout_says(halves: Halves, name: str) -> None:
    """In bytes of the tensors that hold them; lengths by hand."""
    layout = lay_out(halves, SCHEDULES[name], on_gpu=False)
    backend = SlotBackend(halves.language, SETTINGS, layout)
    caches = backend._reader.decoder.caches
    taken = sum(cells.nbytes for cache in caches for cells in (cache.keys, cache.values))
    assert taken == layout.kv_bytes == 7 * layout.slot_bytes
    lengths = {
        "none": 5 * [200],
        "fastv": [200, *4 * [110]],
        "pyramid": [200, 140, 140, 110, 110],
    }[name]
    assert layout.slot_bytes == sum(2 * 2 * 24 * 4 * length for length in lengths)
    assert [cache.max_length for cache in caches for _ in cache.layers] == lengths
    blocks = {200: 208, 140: 144, 110: 112}
    on_gpu = lay_out(halves, SCHEDULES[name])
    assert on_gpu.slot_bytes == sum(2 * 2 * 24 * 4 * blocks[length] for length in lengths)
    assert on_gpu.lengths == layout.lengths


def test_what_is_dropped_leaves_room_for_more_slots(halves: Halves) -> None:
    """Under one limit: FastV's slot is 656 layer positions, a dense one 1040."""
    room = lay_out(halves, None, max_slots=20).total_bytes
    dense, fewer = (
        lay_out(halves, schedule, limit_bytes=room, max_slots=500)
        for schedule in (None, SCHEDULES["fastv"])
    )
    assert dense.num_slots == 20
    assert fewer.slot_bytes * 1040 == dense.slot_bytes * 656
    # Of 31.7 slots for 20, the prompt that stops between layers takes some.
    assert 29 <= fewer.num_slots <= 31
    assert fewer.total_bytes <= room
    one_more = fewer.total_bytes + fewer.slot_bytes
    assert one_more > room


def test_a_layout_tells_its_lengths(halves: Halves) -> None:
    assert " 7 slots of 200 positions 0.00, workspace" in lay_out(halves, None).describe()
    text = lay_out(halves, PYRAMID).describe()
    assert "7 slots of 200 positions (140 from layer 1, 110 from layer 3) 0.00, " in text


def test_a_count_above_all_visual_tokens_takes_as_much_as_none(halves: Halves) -> None:
    layout = lay_out(halves, fastv.schedule(100, 100, 5))
    assert layout.slot_bytes == lay_out(halves, None).slot_bytes
    assert layout.lengths == (200, 200)


def test_what_fits_no_layout(halves: Halves) -> None:
    with pytest.raises(ValueError, match=r"^rows are to be dropped at layer 5 of 5$"):
        lay_out(halves, KeepSchedule(layers=(5,), counts=(3,), ranker=fastv.RANKER))
    with pytest.raises(ValueError, match=r"^100 visual tokens among 100 positions$"):
        lay_out_slots(
            halves.spec,
            max_length=100,
            value_bytes=4,
            weight_bytes=0,
            limit_bytes=2**30,
            max_slots=1,
            on_gpu=True,
            schedule=PYRAMID,
            num_visual=100,
        )


def test_layers_are_counted_as_the_decoder_has_them(halves: Halves) -> None:
    assert halves.spec.num_text_layers == len(halves.language.decoder.model.layers) == 5


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_engine_declares_its_capacity(halves: Halves, name: str) -> None:
    layout = lay_out(halves, SCHEDULES[name])
    backend: Backend = SlotBackend(halves.language, SETTINGS, layout)
    assert backend.capacity == Capacity(
        num_slots=7, total_bytes=layout.total_bytes, max_length=200, rotary_length=300
    )


def test_the_reference_has_the_model_s_context_and_no_slots(halves: Halves) -> None:
    backend: Backend = ReferenceBackend(halves.language, SETTINGS)
    context = halves.language.decoder.config.max_position_embeddings
    assert backend.capacity == Capacity(
        num_slots=None, total_bytes=None, max_length=context, rotary_length=context
    )


def test_the_reference_refuses_a_schedule(halves: Halves) -> None:
    with pytest.raises(UnsupportedScheduleError, match="needs the slots backend"):
        ReferenceBackend(halves.language, SETTINGS, schedule=fastv.schedule(5, 9, 5))
