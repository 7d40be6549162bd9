"""Kept tokens and prompts in, texts out; a row per question, and a failure costs one row."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import pytest

from hired_core.backends.base import Backend, Capacity
from hired_core.backends.slots.backend import SlotBackend
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, Request
from pipeline.accounting.cost import Prices
from pipeline.quality.criteria import QualityConfig
from pipeline.rows.row import to_table
from pipeline.rows.schemas import ANSWERED_SCHEMA, ROW_SCHEMA, SELECTED_SCHEMA
from pipeline.settings.config import (
    CaptionConfig,
    InputConfig,
    JobConfig,
    OutputConfig,
    QuestionConfig,
    RunConfig,
)
from pipeline.stages import GenerateStage, PartitionStage, SelectStage
from pipeline.stages.context import StageContext
from tests.support.bad_images import encode, picture
from tests.support.halves import Halves
from tests.support.models import load_spec
from tests.support.resolved import resolved
from tests.support.settings import reduction

CONTEXT = StageContext(run_id="r", prices=Prices(gpu_hour_usd=0, cpu_hour_usd=0), threads=1)
NEW = 6
BASE = JobConfig(
    input=InputConfig(input=["a"]),
    output=OutputConfig(output="o"),
    reduction=reduction(budget=0.1),
    generation=GenerationSettings(max_new_tokens=NEW),
    # As long as any of the prompts below: it is what the slots are made for.
    question=CaptionConfig(prompt="Describe the image, its colours and its text. " * 3),
)
PROMPT = "Describe the image."
# Answered by one token.
QUESTION = "Is there a red circle?"
SPEC = load_spec("embedded")
SIDE = SPEC.partition_size
SIZES = {"square": (2 * SIDE, 2 * SIDE), "wide": (2 * SIDE, SIDE), "narrow": (144, 225)}
KEPT = 72  # a tenth of five partitions of 144 patches


@cache
def selected(name: str) -> dict[str, Any]:
    """The row of one image after the select stage, without prompts."""
    data = encode(picture(size=SIZES[name]), "PNG")
    row = {"image_id": name, "shard": "s", "key": name, "image": data}
    partition = PartitionStage(CONTEXT, SPEC.geometry, BASE.input.decode_limits)
    table = select()(partition(to_table([row], ROW_SCHEMA)))
    found: dict[str, Any] = table.to_pylist()[0] | {"stats": None}
    return found


@cache
def select() -> SelectStage:
    return SelectStage(CONTEXT, resolved(BASE))


@cache
def generate(temperature: float = 0.0, seed: int = 0) -> GenerateStage:
    generation = GenerationSettings(max_new_tokens=NEW, temperature=temperature, seed=seed)
    return GenerateStage(CONTEXT, resolved(dataclasses.replace(BASE, generation=generation)))


def asked(name: str, *prompts: str | None) -> dict[str, Any]:
    several = len(prompts) > 1
    ids = [f"{name}#q{i}" for i in range(len(prompts))] if several else [name]
    return selected(name) | {"row_ids": ids, "prompts": list(prompts)}


def run(stage: GenerateStage, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    table: pa.Table = stage(to_table(list(rows), SELECTED_SCHEMA))
    assert table.schema.equals(ANSWERED_SCHEMA)
    found: list[dict[str, Any]] = table.to_pylist()
    assert [r["image_id"] for r in found] == [
        i for row in rows for i in row.get("row_ids") or [row.get("image_id")]
    ]
    return found


def texts(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["text"] for row in rows]


def test_an_image_has_a_text_and_its_counts() -> None:
    (row,) = run(generate(), asked("wide", PROMPT))
    assert row["text"]
    assert row["error_code"] is None
    assert row["prompt"] == PROMPT
    assert row["finish_reason"] in ("stop", "length")
    assert 1 <= row["output_tokens"] <= NEW
    # The visual tokens and the words around them.
    assert row["visual_tokens_kept"] == KEPT < row["prompt_tokens"] < KEPT + 40


@pytest.mark.parametrize(("temperature", "seed"), [(0.0, 0), (1.5, 0)])
def test_a_text_does_not_depend_on_its_batch_and_repeats(temperature: float, seed: int) -> None:
    stage = generate(temperature, seed)
    rows = [asked("square", PROMPT), asked("wide", "How many?"), asked("narrow", "What colour?")]
    together = texts(run(stage, *rows))
    assert texts(run(stage, *rows)) == together
    assert [texts(run(stage, row))[0] for row in rows] == together
    assert texts(run(stage, *rows[::-1])) == together[::-1]


def test_sampling_follows_the_seed() -> None:
    rows = [asked(name, PROMPT) for name in SIZES]
    found = {tuple(texts(run(generate(1.5, seed), *rows))) for seed in (0, 1)}
    assert len(found) == 2


def test_an_image_with_several_questions_is_a_row_for_each() -> None:
    rows = run(generate(), asked("wide", PROMPT, None, "How many?", "  "), asked("narrow", PROMPT))
    assert [row["error_code"] for row in rows] == [
        *(None, "prompt_missing", None, "prompt_missing", None)
    ]
    assert [row["prompt"] for row in rows] == [PROMPT, None, "How many?", "  ", PROMPT]
    assert {row["visual_tokens_kept"] for row in rows} == {KEPT}
    alone = [run(generate(), asked("wide", prompt))[0]["text"] for prompt in (PROMPT, "How many?")]
    assert [rows[0]["text"], rows[2]["text"]] == alone


def test_prompts_that_cannot_be_used_cost_their_rows_alone() -> None:
    rows = run(
        generate(),
        asked("wide", PROMPT),
        asked("narrow", "<image> and <image>?"),
        asked("square", "why? " * 600),
        asked("wide", None),
    )
    codes = [row["error_code"] for row in rows]
    assert codes == [None, "prompt_invalid", "prompt_too_long", "prompt_missing"]
    assert [row["error_stage"] for row in rows[1:]] == ["generate"] * 3
    assert "a slot" in rows[2]["error_detail"]
    assert texts(rows)[1:] == [None, None, None]
    assert texts(rows)[0] == texts(run(generate(), asked("wide", PROMPT)))[0]


def test_a_prompt_with_its_own_placeholder_is_taken_word_for_word() -> None:
    (row,) = run(generate(), asked("wide", "<image>"))
    assert row["error_code"] is None
    assert row["prompt_tokens"] <= KEPT + 2  # nothing around the image but special tokens


class Faulty:
    """A backend that cannot do with one of the requests, wherever it is."""

    def __init__(self, backend: Backend, num_tokens: int, error: Exception) -> None:
        self.backend = backend
        self.num_tokens = num_tokens
        self.error = error

    @property
    def capacity(self) -> Capacity:
        return self.backend.capacity

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        if any(request.num_prompt_tokens == self.num_tokens for request in requests):
            raise self.error
        return self.backend.generate(requests)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error\nat line 3"), ValueError("no"), IndexError("out of range")]
)
def test_a_request_that_fails_costs_its_row_alone(error: Exception) -> None:
    rows = [asked("square", PROMPT), asked("wide", "What colour is it?"), asked("narrow", PROMPT)]
    good = run(generate(), *rows)
    stage = GenerateStage(CONTEXT, resolved(BASE))
    stage._backend = Faulty(stage._backend, good[1]["prompt_tokens"], error)
    found = run(stage, *rows)
    assert [row["error_code"] for row in found] == [None, "generation_failed", None]
    expected = f"{type(error).__name__}: {' '.join(str(error).split())}"
    assert found[1]["error_detail"] == expected
    assert texts(found) == [good[0]["text"], None, good[2]["text"]]


class Saying:
    """A backend that says what it is told to."""

    def __init__(self, backend: Backend, *texts: str) -> None:
        self.capacity = backend.capacity
        self._texts = list(texts)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        said = [self._texts.pop(0) for _ in requests]
        return [Completion(text=t, token_ids=[1, 2], finish_reason="stop") for t in said]


@pytest.mark.parametrize("reject", [(), ("empty,loop",)])
def test_texts_are_flagged_and_rejected(reject: tuple[str, ...]) -> None:
    config = dataclasses.replace(BASE, quality=QualityConfig(reject=reject))
    stage = GenerateStage(CONTEXT, resolved(config))
    looping = "so " * 9
    stage._backend = Saying(stage._backend, "a cat", looping, "describe the image", "")
    rows = run(stage, asked("wide", *[PROMPT] * 4, None), {"shard": "s", "shard_rows": 5})
    assert [row["flags"] for row in rows] == [[], ["loop"], ["echo"], ["empty"], None, None]
    bad = "caption_rejected" if reject else None
    codes = [row["error_code"] for row in rows]
    assert codes == [None, bad, None, bad, "prompt_missing", None]
    if reject:
        expected = f"loop ('so' 9 times from character 0): {looping}"
        assert rows[1]["error_detail"] == expected.strip()
    (own,) = map(json.loads, rows[0]["stats"])
    assert json.loads(own["flags"]) == {"loop": 1, "echo": 1, "empty": 1}
    assert (own["output_tokens"], own["errors"]) == (8, 3 if reject else 1)


class Ticking:
    """A clock on which every look takes a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_a_row_that_takes_too_long_costs_its_row_alone() -> None:
    rows = [asked("square", PROMPT), asked("wide", QUESTION), asked("narrow", PROMPT)]
    good = run(generate(), *rows)
    # So that one row ends in time: its text and the stop token.
    lengths = [row["output_tokens"] + (row["finish_reason"] == "stop") for row in good]
    assert lengths == [NEW, min(lengths), NEW]
    # A second for each prompt, and a third of one for each later token while all three run.
    seconds = 1 + (lengths[1] - 1) / 3 + 0.25
    limit = GenerationSettings(max_new_tokens=NEW, generation_timeout_sec=seconds)
    stage = GenerateStage(CONTEXT, resolved(dataclasses.replace(BASE, generation=limit)))
    assert isinstance(stage._backend, SlotBackend)
    stage._backend._clock = Ticking()
    found = run(stage, *rows)
    codes = [row["error_code"] for row in found]
    assert codes == ["generation_timeout", None, "generation_timeout"]
    assert found[0]["error_detail"] == f"{lengths[1] + 1} tokens in {seconds} s"
    assert texts(found) == [None, good[1]["text"], None]
    assert found[0]["finish_reason"] is None


def test_an_error_of_another_kind_stops_the_job() -> None:
    stage = GenerateStage(CONTEXT, resolved(BASE))
    stage._backend = Faulty(stage._backend, -1, AssertionError("a bug"))
    stage._backend.num_tokens = run(generate(), asked("wide", PROMPT))[0]["prompt_tokens"]
    with pytest.raises(AssertionError, match="a bug"):
        stage(to_table([asked("wide", PROMPT)], SELECTED_SCHEMA))


def test_markers_and_failed_rows_pass_untouched() -> None:
    failed = {
        "image_id": "f",
        "shard": "s",
        "key": "f",
        "error_stage": "partition",
        "error_code": "image_corrupt",
        "error_detail": "x",
        "row_ids": ["f#q0", "f#q1"],
        "prompts": ["p", None],
    }
    marker = {"shard": "s", "shard_rows": 2}
    rows = run(generate(), failed, asked("wide", PROMPT), marker)
    for row, prompt in zip(rows[:2], ("p", None), strict=True):
        assert (row["error_stage"], row["error_code"]) == ("partition", "image_corrupt")
        assert (row["prompt"], row["text"], row["output_tokens"]) == (prompt, None, None)
    assert rows[2]["text"]
    assert {n: v for n, v in rows[3].items() if v is not None} == marker


def test_statistics_are_attached_once_and_keep_what_came_along() -> None:
    first = asked("wide", PROMPT, "How many?") | {"stats": ['{"stage": "read"}']}
    second = asked("narrow", PROMPT) | {"stats": ['{"stage": "select"}']}
    rows = run(generate(), first, second, {"shard": "s", "shard_rows": 3})
    found = [[json.loads(text) for text in row["stats"] or []] for row in rows]
    assert [[r["stage"] for r in records] for records in found] == [
        *(["read", "generate"], [], ["select"], [])
    ]
    own = found[0][1]
    assert (own["num_images"], own["errors"]) == (3, 0)
    assert own["output_tokens"] == sum(row["output_tokens"] or 0 for row in rows)
    # A first token also waits for its turn, so its time is no part of the prompts'.
    assert 0 < own["ttft_sec"] < own["busy_sec"]
    assert 0 < own["prefill_sec"] < own["busy_sec"]
    assert own["prefill_sec"] + own["decode_sec"] <= own["busy_sec"]


def test_progress_counts_every_row_that_ends_here() -> None:
    class Counts:
        def __init__(self) -> None:
            self.total: dict[str, int] = {}

        def add(self, **counts: int) -> None:
            for name, count in counts.items():
                self.total[name] = self.total.get(name, 0) + count

    stage, counts = GenerateStage(CONTEXT, resolved(BASE)), Counts()
    stage._reporter = counts  # type: ignore[assignment]
    copies = asked("wide", PROMPT, PROMPT) | {"firsts": [None, 7]}
    found = run(stage, asked("wide", PROMPT, None), copies, {"shard": "s", "shard_rows": 2})
    assert counts.total == {"captioned": 2, "quarantined": 1, "duplicates": 1}
    assert [row["first"] for row in found] == [None, None, None, 7, None]
    assert found[3]["text"] is found[3]["error_code"] is None


@pytest.mark.parametrize("rows", [[], [{"shard": "s", "shard_rows": 0}]])
def test_a_batch_without_questions_is_no_work(rows: list[dict[str, Any]]) -> None:
    assert len(run(generate(), *rows)) == len(rows)


@pytest.mark.parametrize("backend", ["slots", "reference"])
def test_positions_as_in_the_dense_sequence(backend: Any) -> None:
    prompts = ["What is on the left?", "Describe the image, its colours and its text."]
    selection = dataclasses.replace(BASE.reduction, positions="original")
    config = dataclasses.replace(BASE, reduction=selection, run=RunConfig(backend=backend))
    asked_all = [asked(name, *prompts) for name in SIZES]
    rows, compact = (
        run(s, *asked_all) for s in (GenerateStage(CONTEXT, resolved(config)), generate())
    )
    assert [r["prompt_tokens"] for r in rows] == [r["prompt_tokens"] for r in compact]
    halves = Halves("embedded")
    images = [picture(size=SIZES[name]) for name in SIZES for _ in prompts]
    settings = reduction(token_budget=0.1)
    requests = halves.requests(images, prompts * 3, settings, "none", "original")
    expected = halves.generate(requests, max_new_tokens=NEW)
    assert texts(rows) == [completion.text for completion in expected] != texts(compact)


@pytest.mark.parametrize("backend", ["slots", "reference"])
def test_a_prompt_whose_positions_the_model_does_not_have(backend: Any) -> None:
    """72 visual tokens of the 744 positions of a square image, of 2,048 that the model has."""
    prompt = "why? " * 400
    question = QuestionConfig()
    run_config = RunConfig(backend=backend, max_prompt_tokens=10_000)
    config = dataclasses.replace(BASE, question=question, run=run_config)
    (row,) = run(GenerateStage(CONTEXT, resolved(config)), asked("square", prompt))
    assert row["error_code"] is None
    tokens = row["prompt_tokens"]
    assert tokens + NEW < 2048 < tokens + 744 - 72 + NEW
    selection = dataclasses.replace(BASE.reduction, positions="original")
    stage = GenerateStage(CONTEXT, resolved(dataclasses.replace(config, reduction=selection)))
    (row,) = run(stage, asked("square", prompt))
    assert row["error_code"] == "prompt_too_long"
    needed = tokens + 744 - 72 + NEW
    assert row["error_detail"] == f"{needed} positions needed, the model has 2048"
