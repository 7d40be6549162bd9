"""What an actor may take, how long its slots are, and how many batches fill them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from hired_core.backends.base import GIB, BackendPlan
from hired_core.backends.slots.memory import SlotLayout
from hired_core.geometry.spec import ModelSpec
from hired_core.language.generation import GenerationSettings
from hired_core.vlm import device, sizing
from hired_core.vlm.device import CPU_SHARE, GPU_SHARE, compute_dtype
from pipeline.resources import memory
from pipeline.resources.memory import (
    actor_bytes,
    expected_plan,
    with_calls,
)
from pipeline.resources.placement import Cluster, Placement, Pool
from pipeline.rows.errors import ConfigError
from pipeline.settings.config import (
    CaptionConfig,
    InputConfig,
    JobConfig,
    OutputConfig,
    QuestionConfig,
    RunConfig,
)
from tests.support import models
from tests.support.halves import slot_layout
from tests.support.resolved import resolved
from tests.support.settings import reduction

CPU = torch.device("cpu")
BASE = JobConfig(
    input=InputConfig(input=["a"]),
    output=OutputConfig(output="o"),
    reduction=reduction(budget=0.2),
    generation=GenerationSettings(max_new_tokens=30),
)
SPEC = models.load_spec("embedded")


def with_parts(**parts: Any) -> JobConfig:
    return dataclasses.replace(BASE, **parts)


def text_positions(config: JobConfig) -> int:
    return resolved(config).text_positions


def expected(
    config: JobConfig, spec: ModelSpec, placement: Placement, cluster: Cluster
) -> SlotLayout:
    found = planned(config, spec, placement, cluster)
    assert isinstance(found, SlotLayout)
    return found


def planned(
    config: JobConfig, spec: ModelSpec, placement: Placement, cluster: Cluster
) -> BackendPlan:
    dtype = compute_dtype(
        "auto", spec.stored_dtype, torch.device("cuda" if cluster.gpus else "cpu")
    )
    text = text_positions(config)
    return expected_plan(config, spec, placement, cluster, text_positions=text, dtype=dtype)


def lengths(config: JobConfig) -> dict[str, int]:
    return {
        "text_positions": text_positions(config),
        "max_new_tokens": config.generation.max_new_tokens,
    }


def max_length(config: JobConfig, spec: ModelSpec) -> int:
    return sizing.max_length(spec, config.reduction, **lengths(config))


def rotary_length(config: JobConfig, spec: ModelSpec) -> int | None:
    return sizing.rotary_length(spec, config.reduction, **lengths(config))


def words(prompt: str) -> int:
    before, after = models.load_prompt_template(SPEC).token_ids(prompt)
    return len(before) + len(after)


def test_a_slot_is_as_long_as_its_longest_request() -> None:
    """144 of 720 visual tokens; a prompt that is given is measured, one from the data bounded."""
    caption = with_parts(question=CaptionConfig(prompt="What is this?"))
    assert max_length(caption, SPEC) == 144 + words("What is this?") + 30
    for question in (QuestionConfig(), CaptionConfig(prompt_column="p")):
        asked = with_parts(question=question, run=RunConfig(max_prompt_tokens=100))
        assert max_length(asked, SPEC) == 144 + 100 + 30


@pytest.mark.parametrize(
    ("selection", "visual"),
    [
        ({"budget": 17}, 17),
        ({"budget": 17, "newline": "kept-rows"}, 17 + 17),  # No more rows than tokens.
        ({"budget": 40, "newline": "kept-rows"}, 40 + 36),  # Three partitions of twelve rows.
        ({"budget": 1000}, 720),
        ({"budget": 1}, 720 + 36),
        ({"budget": 0.1, "newline": "all"}, 72 + 36),
        ({"budget": 0.1, "budget_basis": "image"}, 72),
    ],
)
def test_visual_positions_of_a_slot(selection: dict[str, Any], visual: int) -> None:
    config = with_parts(
        question=QuestionConfig(),
        reduction=reduction(**selection),
        run=RunConfig(max_prompt_tokens=100),
    )
    assert max_length(config, SPEC) == visual + 100 + 30


@pytest.mark.parametrize(
    ("selection", "rotary"),
    [
        ({"budget": 17, "positions": "original"}, 720 + 36),
        ({"budget": 0.2, "newline": "all", "positions": "original"}, 720 + 36),
        ({"budget": 1, "newline": "none", "positions": "original"}, 720 + 36),
        ({"budget": 1, "positions": "original"}, None),  # The same as compact.
        ({"budget": 17}, None),
    ],
)
def test_rotary_positions_are_those_of_the_dense_sequence(
    selection: dict[str, Any], rotary: int | None
) -> None:
    chosen = reduction(**selection)
    asked = with_parts(question=QuestionConfig(), run=RunConfig(max_prompt_tokens=100))
    config = dataclasses.replace(asked, reduction=chosen)
    assert rotary_length(config, SPEC) == (None if rotary is None else rotary + 100 + 30)
    plan = expected(config, SPEC, pool(), Cluster(cpus=2, gpus=0))
    # No cell is taken for a position without a token.
    compact = dataclasses.replace(
        config, reduction=dataclasses.replace(chosen, positions="compact")
    )
    assert plan.max_length == max_length(compact, SPEC) <= plan.rotary_length
    assert plan.rotary_length == (rotary_length(config, SPEC) or plan.max_length)


def test_no_rotary_position_is_beyond_the_model() -> None:
    selection = reduction(budget=0.1, positions="original")
    run = RunConfig(max_prompt_tokens=5000)
    config = with_parts(question=QuestionConfig(), reduction=selection, run=run)
    assert rotary_length(config, SPEC) == SPEC.max_context


def test_a_slot_is_no_longer_than_the_model() -> None:
    config = with_parts(question=QuestionConfig(), run=RunConfig(max_prompt_tokens=5000))
    assert max_length(config, SPEC) == SPEC.max_context


def pool(gpus: float = 0.0, threads: int | None = 1) -> Placement:
    language = Pool(size=1, gpus=gpus, cpus=1.0, threads=threads)
    return Placement(vision=None, language=language, partition_cpus=0.5, io_cpus=0.25)


def test_the_share_of_a_card() -> None:
    """By data sheet, less what CUDA takes; half of it where two actors share one."""
    cluster = Cluster(cpus=8, gpus=1, gpu_name="NVIDIA L4")
    assert cluster.gpu_bytes == 24 * 10**9
    whole = expected(BASE, SPEC, pool(1.0), cluster)
    half = expected(BASE, SPEC, pool(0.5), cluster)
    assert whole.limit_bytes == int(GPU_SHARE * 24 * 10**9)
    assert half.limit_bytes == int(GPU_SHARE * 12 * 10**9)
    assert whole.num_slots == device.MAX_SLOTS_GPU


def test_the_share_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(memory, "machine_bytes", lambda: 16 * GIB)
    for threads, share in ((2, 1 / 4), (8, 1.0), (32, 1.0), (None, 1.0)):
        limit = int(CPU_SHARE * 16 * GIB * share)
        assert actor_bytes(CPU, gpus=0, threads=threads) == limit
        plan = expected(BASE, SPEC, pool(threads=threads), Cluster(cpus=8, gpus=0))
        assert plan.limit_bytes == limit
        assert plan.num_slots == device.MAX_SLOTS_CPU


def test_a_limit_that_is_given_is_the_limit() -> None:
    run = RunConfig(memory_limit_gib=0.25, max_slots=5)
    plan = expected(with_parts(run=run), SPEC, pool(), Cluster(cpus=2, gpus=0))
    assert (plan.limit_bytes, plan.num_slots) == (GIB // 4, 5)
    vision, language = models.weight_counts(SPEC)
    assert plan.weight_bytes == 4 * (vision + language)
    split = dataclasses.replace(pool(), vision=pool().language)
    alone = expected(with_parts(run=run), SPEC, split, Cluster(cpus=2, gpus=0))
    assert alone.weight_bytes == 4 * language


def test_a_limit_too_small_is_a_wrong_setting() -> None:
    config = with_parts(run=RunConfig(memory_limit_gib=0.01))
    with pytest.raises(ConfigError, match=r"^memory_limit_gib: .* GiB are needed for one slot"):
        expected(config, SPEC, pool(), Cluster(cpus=2, gpus=0))


def test_the_reference_has_no_slots() -> None:
    config = with_parts(run=RunConfig(backend="reference"))
    plan = planned(config, SPEC, pool(), Cluster(cpus=2, gpus=0))
    assert plan.capacity.num_slots is plan.limit_bytes is plan.kv_bytes is None
    assert plan.capacity.max_length == SPEC.max_context
    assert with_calls(pool(), plan, 8) == pool()


@pytest.mark.parametrize(
    ("num_slots", "batch_size", "calls"), [(16, 8, 3), (17, 8, 4), (1, 8, 2), (8, 1, 9)]
)
def test_batches_under_way_fill_the_slots_and_one_more(
    num_slots: int, batch_size: int, calls: int
) -> None:
    found = with_calls(pool(), slot_layout(num_slots, 700), batch_size)
    assert found.language.calls == calls
    assert dataclasses.replace(found, language=pool().language) == pool()


def test_a_container_bounds_the_memory_of_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_CGROUP", tmp_path / "memory.max")
    whole = device.machine_bytes()
    assert whole > GIB
    for text, expected in (("max\n", whole), ("1000000\n", 10**6), (f"{10**18}\n", whole)):
        (tmp_path / "memory.max").write_text(text)
        assert device.machine_bytes() == expected
