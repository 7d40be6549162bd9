"""The plan: what it refuses before anything runs, and how a dry run reads."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hired_core.backends.slots.memory import SlotLayout
from hired_core.errors import SettingError
from hired_core.language.generation import GenerationSettings
from hired_core.models import weights
from pipeline.job import describe as describe_module
from pipeline.job.describe import describe
from pipeline.job.plan import Plan, make_plan
from pipeline.parts.sink import Sink
from pipeline.resources.estimate import estimate
from pipeline.rows.errors import ConfigError, InputError, JobError, ModelError
from pipeline.settings.config import (
    CaptionConfig,
    DuplicatesConfig,
    InputConfig,
    JobConfig,
    ModelConfig,
    OutputConfig,
    QuestionConfig,
    RunConfig,
)
from tests.support.bad_images import encode, picture
from tests.support.models import load_prompt_template, weight_counts
from tests.support.one_run import Run
from tests.support.resolved import resolved
from tests.support.settings import reduction

PNG = encode(picture(), "PNG")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two Parquet shards of three and two rows."""
    folder = tmp_path / "data"
    folder.mkdir()
    for index, count in enumerate((3, 2)):
        table = pa.table({"image": [PNG] * count, "question": [["a?", "b?"]] * count})
        pq.write_table(table, folder / f"{index}.parquet")
    return folder


def config(data: Path, output: str = "", **sections: Any) -> JobConfig:
    given: dict[str, Any] = {
        "input": InputConfig(input=[str(data)]),
        "output": OutputConfig(output=output or str(data.parent / "out")),
    }
    return JobConfig(**(given | sections))


def used(output: Path) -> str:
    """Results of a time before there was a ledger."""
    table = pa.table({"image_id": ["x"]})
    Sink(url=str(output)).write("captions/part-0.parquet", table, {})
    return str(output)


def plan_of(config: JobConfig) -> Plan:
    return make_plan(resolved(config))


def test_a_plan_counts_images_and_reads_nothing_else(data: Path) -> None:
    plan = plan_of(config(data))
    assert [shard.name for shard in plan.shards] == ["0.parquet", "1.parquet"]
    assert plan.num_images == 5
    assert not (data.parent / "out").exists()


def test_a_limit_cuts_the_plan(data: Path) -> None:
    plan = plan_of(config(data, input=InputConfig(input=[str(data)], limit=4)))
    assert plan.num_images == 4


def test_shards_that_only_reading_can_count_leave_the_number_open(data: Path) -> None:
    (data / "x.tar").write_bytes(b"")
    assert plan_of(config(data)).num_images is None


def test_results_without_a_ledger_are_refused_unless_overwritten(
    data: Path, tmp_path: Path
) -> None:
    output = used(tmp_path / "out")
    for run in (RunConfig(), RunConfig(dry_run=True)):
        with pytest.raises(ConfigError, match=r"^output: .* holds results but no ledger; .*--over"):
            plan_of(config(data, output, run=run))
    plan_of(with_output(config(data), OutputConfig(output=output, overwrite=True)))


def test_a_used_output_is_resumed(data: Path, tmp_path: Path) -> None:
    """What is complete is not opened again; a run would change nothing when all is."""
    output = str(tmp_path / "out")
    first = plan_of(config(data, output))
    done = dataclasses.replace(first, shards=first.shards[:1])
    caption(done)
    second = plan_of(config(data, output))
    assert [shard.name for shard in second.work.to_open] == ["1.parquet"]
    assert (second.work.num_complete, second.num_images, second.is_done) == (1, 2, False)
    caption(second, bad=frozenset({"1.parquet#0"}))
    third = plan_of(config(data, output))
    assert (third.work.to_open, third.num_images, third.is_done) == ((), 0, True)
    for wish in ({"retry_quarantined": True}, {"overwrite": True}):
        wishing = OutputConfig(output=output, **wish)  # type: ignore[arg-type]
        assert not plan_of(with_output(config(data), wishing)).is_done


def caption(plan: Plan, bad: frozenset[str] = frozenset()) -> None:
    Run(run_id="r", shards=plan.shards, bad=bad, identity=plan.identity).play(plan.sink)


def with_output(base: JobConfig, output: OutputConfig) -> JobConfig:
    return dataclasses.replace(base, output=output)


@pytest.mark.parametrize("name", ["", "deep/er"])
def test_an_output_among_the_input_is_refused(data: Path, name: str) -> None:
    """Tonight's captions would be tomorrow's images."""
    output = used(data / name)
    with pytest.raises(ConfigError, match=r"^output: its results, .* are among the input"):
        plan_of(with_output(config(data), OutputConfig(output=output, overwrite=True)))


def test_an_output_beside_the_input_is_not(data: Path) -> None:
    used(data.parent / "data-captions")
    beside = OutputConfig(output=str(data.parent / "data-captions"), overwrite=True)
    plan_of(with_output(config(data), beside))


@pytest.mark.parametrize(
    ("sections", "error", "line"),
    [
        ({"model": ModelConfig(model="./nowhere")}, ModelError, "model: no checkpoint folder at"),
        ({"input": InputConfig(input=["nowhere/*.tar"])}, InputError, "nothing matches"),
        (
            {"question": CaptionConfig(prompt="<image> or <image>?")},
            ConfigError,
            "prompt: a prompt needs exactly one <image>, got",
        ),
        (
            {"generation": GenerationSettings(max_new_tokens=2000)},
            ConfigError,
            "max_new_tokens: 2000 do not fit: prompt, 144 visual tokens and these take ",
        ),
        (
            {
                "generation": GenerationSettings(max_new_tokens=2024),
                "question": CaptionConfig(prompt_column="question"),
                "reduction": reduction(budget=25),
            },
            ConfigError,
            "max_new_tokens: 2024 do not fit: prompt, 25 visual tokens and these take 2049 "
            "positions, the model has 2048",
        ),
        (
            {
                "generation": GenerationSettings(max_new_tokens=2000),
                "question": CaptionConfig(prompt_column="question"),
                "reduction": reduction(budget=20, positions="original"),
            },
            ConfigError,
            "max_new_tokens: 2000 do not fit: prompt, 144 visual tokens and these take 2144 ",
        ),
        (
            {"question": CaptionConfig(prompt="why " * 2000)},
            ConfigError,
            "max_new_tokens: 64 do not fit: ",
        ),
        ({"question": QuestionConfig(question_column="nope")}, InputError, ""),
    ],
)
def test_what_would_fail_every_row_is_refused_before(
    data: Path, sections: dict[str, Any], error: type[JobError], line: str
) -> None:
    with pytest.raises(error) as caught:
        plan_of(config(data, **sections))
    assert str(caught.value).startswith(line)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_positions_that_just_fit_are_accepted(data: Path) -> None:
    sections: dict[str, Any] = {
        "question": CaptionConfig(prompt_column="question"),
        "reduction": reduction(budget=24),
    }
    plan_of(config(data, **sections, generation=GenerationSettings(max_new_tokens=2024)))


@pytest.fixture
def one_gigaflops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of measuring this machine; `test_estimate` does that."""
    monkeypatch.setattr(describe_module, "device_flops", lambda cluster: 1e9)


def lines(text: str) -> dict[str, str]:
    pairs = (line.strip().split("  ", 1) for line in text.splitlines())
    return {name: value.strip() for name, value in pairs}


@pytest.mark.usefixtures("one_gigaflops")
def test_a_dry_run_tells_the_plan(data: Path, tmp_path: Path) -> None:
    run = RunConfig(dry_run=True, cpu_hour_price=3.6, language_actors=1, torch_threads=1)
    chosen = reduction(budget=0.2, method="uniform")
    found = lines(describe(config(data, run=run, reduction=chosen)))
    size = sum(path.stat().st_size for path in data.iterdir()) / 2**20
    assert found["input"] == f"2 shards (2 parquet), {size:.1f} MiB, 5 images"
    assert found["model"] == "embedded (llava_next, 144 patches per partition, float32)"
    assert found["prompt"] == "'Describe the image.'"
    # A fifth of five partitions of 144.
    asked = "budget 0.2: 144 of at most 720 per image"
    assert found["visual tokens"] == f"{asked}, method uniform, newline none"
    # A CPU at 0.001 USD/s, as many as there are, for as many seconds as an image has GFLOP.
    plan = plan_of(config(data, reduction=chosen))
    seconds = estimate(plan.config, plan.resolved.spec).flops / 1e9
    usd = 1000 * seconds * 0.001 * len(os.sched_getaffinity(0))
    per_image = f"({seconds:,.1f} GFLOP an image at 1 GFLOP/s)"
    assert found["cost"] == (
        f"at least USD {usd:.5f} per 1000 images, USD {usd * 5 / 1000:.4f} in all {per_image}"
    )
    assert found["output"] == str(tmp_path / "out")
    assert len(found["fingerprint"]) == 16
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("one_gigaflops")
def test_a_dry_run_tells_what_is_stored_and_touches_nothing(data: Path, tmp_path: Path) -> None:
    first = config(data, run=RunConfig(dry_run=True))
    caption(plan_of(dataclasses.replace(first, input=InputConfig(input=[str(data)], limit=4))))
    found = lines(describe(first))
    output = str(tmp_path / "out")
    assert found["output"] == f"{output}, where 4 rows are stored"
    assert found["work"] == "1 shard to open, 1 is complete"
    parts = Sink(url=output).parts("captions")
    again = with_output(first, OutputConfig(output=output, overwrite=True))
    deleted = f"{output}; results that are there are deleted first"
    assert lines(describe(again))["output"] == deleted
    assert Sink(url=output).parts("captions") == parts != []


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"skip_below": 4}, "newline none, skip_below 4"),
        (
            {"method": "hired-upstream", "transposed_grid": True},
            "newline none, transposed_grid True",
        ),
        ({"llm_method": "fastv"}, "newline none, llm_method fastv"),
        ({"llm_method": "fastv", "llm_budget": 9}, "llm_method fastv, llm_budget 9"),
        ({"method": "dense"}, "newline all"),
    ],
)
def test_a_dry_run_tells_what_is_not_the_default(
    data: Path, asked: dict[str, Any], told: str
) -> None:
    found = lines(describe(config(data, reduction=reduction(**asked))))
    assert found["visual tokens"].endswith(told)


@pytest.mark.usefixtures("one_gigaflops")
def test_a_dry_run_tells_slots_and_memory(data: Path) -> None:
    """25 visual tokens, the words of the prompt and 64 new tokens; 8 KiB a position in float32."""
    run = RunConfig(dry_run=True, memory_limit_gib=0.25, max_slots=12)
    asked = config(data, run=run, reduction=reduction(budget=25))
    found = lines(describe(asked))
    spec = plan_of(asked).resolved.spec
    before, after = load_prompt_template(spec).token_ids("Describe the image.")
    length = 25 + len(before) + len(after) + 64
    cells = 12 * length * 4 * spec.kv_values_per_token / 2**30
    stored = 4 * sum(weight_counts(spec)) / 2**30
    pattern = (
        rf"0\.\d\d of 0\.25 GiB: weights {stored:.2f}, 12 slots of {length} positions "
        rf"{cells:.2f}, workspace 0\.\d\d, per language actor"
    )
    assert re.fullmatch(pattern, found["memory"])
    # 12 slots are two batches of 8, and one more is on its way.
    assert found["in flight"].startswith("3 batches of 8 images under way in each language actor")
    free = lines(describe(config(data, run=RunConfig(dry_run=True, backend="reference"))))
    assert free["memory"] == "not bounded: --backend reference"
    tight = config(data, run=RunConfig(dry_run=True, memory_limit_gib=0.001))
    with pytest.raises(ConfigError, match=r"^memory_limit_gib: .*, the limit is 0\.00; raise it"):
        describe(tight)


@pytest.mark.usefixtures("one_gigaflops")
def test_a_dry_run_tells_of_weights_in_eight_bits(data: Path) -> None:
    """Those of layers a byte each, with five a row; the others four. Slots are as large."""
    run = RunConfig(dry_run=True, memory_limit_gib=0.25)
    model = ModelConfig(quantize="int8", quantize_vision="fp8")
    asked = config(data, run=run, model=model)
    told = lines(describe(asked))
    assert told["model"].endswith("float32, decoder stored in int8, vision tower stored in fp8)")
    plain = plan_of(config(data, run=run)).resolved.backend
    eight = plan_of(asked).resolved.backend
    assert isinstance(plain, SlotLayout) and isinstance(eight, SlotLayout)
    assert eight.slot_bytes == plain.slot_bytes
    decoder, tower = 4 * (4 * 256**2 + 3 * 256 * 704), 6 * (4 * 192**2 + 2 * 192 * 768)
    rows = 5 * 4 * (5 * 256 + 2 * 704), 4 * 6 * (5 * 192 + 768)
    assert plain.weight_bytes - eight.weight_bytes == 3 * (decoder + tower) - sum(rows)
    assert f"weights {eight.weight_bytes / 2**30:.2f}" in told["memory"]


def test_a_job_without_torchao_is_told_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"^quantize: torchao is not installed: pip install '"):
        plan_of(config(data, model=ModelConfig(quantize="fp8")))


@pytest.mark.usefixtures("one_gigaflops")
def test_a_dry_run_shows_no_secrets(data: Path) -> None:
    output = OutputConfig(output="memory://user:secret@bucket/x")
    text = describe(with_output(config(data, run=RunConfig(dry_run=True)), output))
    assert "secret" not in text and "bucket/x" in text


@pytest.mark.usefixtures("one_gigaflops")
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, None),
        ({"duplicates": "copy"}, "the caption of the first is copied, of images with the same"),
        ({"near_duplicates": 4}, "bytes, and of images whose hashes differ in at most 4 bits"),
    ],
)
def test_duplicates_are_told_where_they_are_copied(
    data: Path, asked: dict[str, Any], told: str | None
) -> None:
    chosen = DuplicatesConfig(**asked)
    found = lines(describe(config(data, duplicates=chosen, run=RunConfig(dry_run=True))))
    assert ("duplicates" in found) == (told is not None)
    assert told is None or told in found["duplicates"]


@pytest.mark.usefixtures("one_gigaflops")
def test_questions_come_from_a_column(data: Path) -> None:
    found = lines(describe(config(data, question=QuestionConfig(), run=RunConfig(dry_run=True))))
    assert found["prompt"] == "from column 'question'"


def test_the_plan_tells_what_texts_may_be(data: Path) -> None:
    items = {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True}
    schema = {"type": "object", "properties": {"numbers": items, "prompt": {"type": "boolean"}}}
    given = GenerationSettings(schema=schema)
    plan = describe(config(data, generation=given))
    told = re.search(r"^ +texts  (.*)$", plan, re.MULTILINE)
    assert told is not None and told[1] == (
        "JSON of the schema, into columns numbers, json_prompt; checked when it is written, "
        'not before: Unimplemented keys: ["uniqueItems"]'
    )
    plan = describe(config(data, generation=GenerationSettings(choices=("a,b",))))
    assert "texts  one of 2 texts, into columns choice" in plan
    assert " texts  " not in describe(config(data))
