"""What vLLM is refused for and what it takes, decided without it; texts are in tests/vllm."""

from __future__ import annotations

from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from hired_core.backends import vllm_kind
from hired_core.backends.base import GIB, MemoryLimitError, Sizes, UnsupportedError
from hired_core.backends.registry import BACKENDS, backend_kind
from hired_core.backends.vllm.plan import VllmPlan
from hired_core.backends.vllm.shares import ShareClock
from hired_core.language.generation import GenerationSettings
from hired_core.vlm.settings import ReductionSettings
from hired_core.vlm.sizing import plan_backend, request_sizes
from tests.support import models
from tests.support.qwen_checkpoints import build_qwen2_vl
from tests.support.settings import reduction

GREEDY = GenerationSettings(max_new_tokens=30)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_kind, "find_spec", lambda name: ModuleSpec(name, None))


def sizes(model: str = "embedded", settings: Any = None, **given: Any) -> Sizes:
    chosen = {
        "text_positions": 20,
        "max_new_tokens": 30,
        "dtype": torch.float32,
        "limit_bytes": 8 * GIB,
        "max_slots": 16,
        "on_gpu": False,
        "images": 8,
    }
    return request_sizes(
        models.load_spec(model), settings or reduction(budget=0.2), **(chosen | given)
    )


def test_every_backend_has_its_kind() -> None:
    assert [backend_kind(name).runs_layers for name in BACKENDS] == [True, True, False]


@pytest.mark.parametrize(
    ("settings", "generation", "reason"),
    [
        ({"method": "fastv"}, {}, "cannot drop tokens between layers"),
        ({"positions": "original"}, {}, "add --positions compact"),
        ({"method": "distinct"}, {}, "add --positions compact"),
        ({}, {"repetition_penalty": 1.2}, "--repetition-penalty"),
        ({}, {"no_repeat_ngram_size": 3}, "--no-repeat-ngram-size"),
        ({}, {"choices": ("yes", "no")}, "--schema or --choices"),
        ({}, {"schema": {"type": "object"}}, "--schema or --choices"),
    ],
)
def test_what_it_cannot_do_is_told_in_a_line(
    settings: dict[str, Any], generation: dict[str, Any], reason: str
) -> None:
    chosen = ReductionSettings(**({"budget": 0.2, "method": "hired"} | settings))
    asked = replace(GREEDY, **generation)
    with pytest.raises(UnsupportedError, match=reason) as caught:
        plan_backend("vllm", sizes(settings=chosen), asked)
    assert str(caught.value).startswith("vllm ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "generation",
    [
        {"temperature": 0.7, "top_p": 0.9, "seed": 3},
        {"min_new_tokens": 5, "stop_strings": ("the",)},
        {"generation_timeout_sec": None},
    ],
)
def test_what_it_does_is_planned(generation: dict[str, Any]) -> None:
    plan = plan_backend("vllm", sizes(), replace(GREEDY, **generation))
    assert plan.capacity.num_slots == 16


def test_rows_and_columns_cannot_be_told(tmp_path: Path) -> None:
    folder = build_qwen2_vl(tmp_path, seed=1)
    with pytest.raises(UnsupportedError, match="row and column of each visual token"):
        plan_backend("vllm", sizes(str(folder)), GREEDY)


def test_a_decoder_of_another_type_and_quantised_weights() -> None:
    with pytest.raises(UnsupportedError, match=r"llama, mistral, qwen2, qwen3, not gemma"):
        plan_backend("vllm", replace(sizes(), decoder="gemma"), GREEDY)
    stored = replace(sizes(), stored_as="awq", decoder_bytes=1000)
    for name in ("slots", "reference"):
        with pytest.raises(UnsupportedError, match=f"^{name} reads no quantised weights.*awq"):
            plan_backend(name, stored, GREEDY)  # type: ignore[arg-type]  # Both are names.
    assert made(stored).weight_bytes == 1000
    with pytest.raises(UnsupportedError, match=r"^vllm quantises no weights itself.*--quantize"):
        plan_backend("vllm", replace(sizes(), quantize="int8"), GREEDY)


def test_without_vllm_there_is_a_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_kind, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"^vllm is not installed"):
        plan_backend("vllm", sizes(), GREEDY)


def made(asked: Sizes) -> VllmPlan:
    plan = plan_backend("vllm", asked, GREEDY)
    assert isinstance(plan, VllmPlan)
    return plan


def test_the_cache_has_room_for_every_request_at_its_longest() -> None:
    """144 visual tokens, 20 of text and 30 new ones are seven blocks of 32; and one for vLLM."""
    asked = sizes()
    spec, plan = asked.spec, made(asked)
    assert plan.max_length == asked.max_length == 194
    assert plan.num_blocks == 16 * 7 + 1
    assert plan.kv_bytes == plan.num_blocks * 32 * spec.kv_values_per_token * 4
    vision, language = models.weight_counts(spec)
    assert plan.own_bytes > 4 * vision
    # The engine's decoder is the language model without what stands before it.
    table = spec.vocab_size * spec.text_width
    around = asked.words - table
    assert plan.weight_bytes == asked.decoder_bytes == 4 * (language - around)
    assert plan.total_bytes <= plan.limit_bytes


def test_a_limit_leaves_room_for_fewer_requests() -> None:
    few = made(sizes(limit_bytes=made(sizes(max_slots=3)).total_bytes * 100 // 98 + 1))
    assert few.num_slots == 3
    with pytest.raises(MemoryLimitError, match=r"are needed for one request .*beside vllm"):
        made(sizes(limit_bytes=GIB // 64))


def test_gpus_share_weights_and_cache_and_leave_vision_alone() -> None:
    limits = {"on_gpu": True, "dtype": torch.float16, "images": 0, "limit_bytes": 20 * GIB}
    one, two = made(sizes(**limits)), made(sizes(**limits, tensor_parallel=2))
    assert (two.weight_bytes, two.block_bytes) == (one.weight_bytes // 2, one.block_bytes // 2)
    assert one.own_bytes > two.own_bytes == 0
    assert "on each of 2 GPUs" in two.describe() and "each of" not in one.describe()


def test_seconds_are_shared_among_those_that_run() -> None:
    """A alone for 2 s, both for 4 s, B alone for 1 s; then nobody; then C for 3 s."""
    times = iter([0, 0, 2, 6, 6, 7, 7, 20, 23, 23])
    clock = ShareClock(lambda: next(times))
    a = clock.begin()
    b = clock.begin()
    assert clock.read() - a == 4
    clock.end()
    assert clock.read() - b == 3
    clock.end()
    c = clock.begin()
    assert clock.read() - c == 3
    clock.end()
    assert c == 5
