"""The plan: what it refuses before anything runs, and how a dry run reads."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import describe as describe_module
from pipeline.config import (
    CaptionConfig,
    GenerationConfig,
    InputConfig,
    JobConfig,
    ModelConfig,
    OutputConfig,
    QuestionConfig,
    RunConfig,
    SelectionConfig,
)
from pipeline.describe import describe
from pipeline.errors import ConfigError, InputError, JobError, ModelError
from pipeline.estimate import estimate
from pipeline.plan import make_plan
from pipeline.sink import Sink
from tests.bad_images import encode, picture

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
    table = pa.table({"image_id": ["x"]})
    Sink(url=str(output)).write("captions", "part-0.parquet", table, {})
    return str(output)


def test_a_plan_counts_images_and_reads_nothing_else(data: Path) -> None:
    plan = make_plan(config(data))
    assert [shard.name for shard in plan.shards] == ["0.parquet", "1.parquet"]
    assert plan.num_images == 5
    assert not (data.parent / "out").exists()


def test_a_limit_cuts_the_plan(data: Path) -> None:
    plan = make_plan(config(data, input=InputConfig(input=[str(data)], limit=4)))
    assert plan.num_images == 4


def test_shards_that_only_reading_can_count_leave_the_number_open(data: Path) -> None:
    (data / "x.tar").write_bytes(b"")
    assert make_plan(config(data)).num_images is None


def test_a_used_output_is_refused_unless_overwritten(data: Path, tmp_path: Path) -> None:
    output = used(tmp_path / "out")
    with pytest.raises(ConfigError, match=r"^output: .* holds results already; .*--overwrite"):
        make_plan(config(data, output))
    make_plan(config(data, output, run=RunConfig(dry_run=True)))
    make_plan(with_output(config(data), OutputConfig(output=output, overwrite=True)))


def with_output(base: JobConfig, output: OutputConfig) -> JobConfig:
    return dataclasses.replace(base, output=output)


@pytest.mark.parametrize("name", ["", "deep/er"])
def test_an_output_among_the_input_is_refused(data: Path, name: str) -> None:
    """Tonight's captions would be tomorrow's images."""
    output = used(data / name)
    with pytest.raises(ConfigError, match=r"^output: its results, .* are among the input"):
        make_plan(with_output(config(data), OutputConfig(output=output, overwrite=True)))


def test_an_output_beside_the_input_is_not(data: Path) -> None:
    used(data.parent / "data-captions")
    beside = OutputConfig(output=str(data.parent / "data-captions"), overwrite=True)
    make_plan(with_output(config(data), beside))


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
            {"generation": GenerationConfig(max_new_tokens=1000)},
            ConfigError,
            "max_new_tokens: 1000 do not fit: prompt, 64 visual tokens and these take ",
        ),
        (
            {
                "generation": GenerationConfig(max_new_tokens=1000),
                "question": CaptionConfig(prompt_column="question"),
                "selection": SelectionConfig(budget=25),
            },
            ConfigError,
            "max_new_tokens: 1000 do not fit: prompt, 25 visual tokens and these take 1025 "
            "positions, the model has 1024",
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
        make_plan(config(data, **sections))
    assert str(caught.value).startswith(line)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_positions_that_just_fit_are_accepted(data: Path) -> None:
    sections: dict[str, Any] = {
        "question": CaptionConfig(prompt_column="question"),
        "selection": SelectionConfig(budget=24),
    }
    make_plan(config(data, **sections, generation=GenerationConfig(max_new_tokens=1000)))


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
    chosen = SelectionConfig(budget=0.2, method="uniform")
    found = lines(describe(config(data, run=run, selection=chosen)))
    size = sum(path.stat().st_size for path in data.iterdir()) / 2**20
    assert found["input"] == f"2 shards (2 parquet), {size:.1f} MiB, 5 images"
    assert found["model"] == "embedded (64 patches per partition)"
    assert found["prompt"] == "'Describe the image.'"
    # A fifth of five partitions of 64.
    expected = "64 of at most 320 per image, method uniform, alpha 0.5, newline none"
    assert found["visual tokens"] == expected
    # A CPU at 0.001 USD/s, as many as there are, for as many seconds as an image has GFLOP.
    plan = make_plan(config(data, selection=chosen))
    seconds = estimate(plan.config, plan.spec, value_bytes=1).flops / 1e9
    usd = 1000 * seconds * 0.001 * len(os.sched_getaffinity(0))
    per_image = f"({seconds:,.1f} GFLOP an image at 1 GFLOP/s)"
    assert found["cost"] == (
        f"at least USD {usd:.5f} per 1000 images, USD {usd * 5 / 1000:.4f} in all {per_image}"
    )
    assert found["output"] == str(tmp_path / "out")
    assert len(found["fingerprint"]) == 16
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("one_gigaflops")
def test_a_dry_run_warns_of_a_used_output(data: Path, tmp_path: Path) -> None:
    output = used(tmp_path / "out")
    refused = with_output(config(data, run=RunConfig(dry_run=True)), OutputConfig(output=output))
    text = lines(describe(refused))["output"]
    assert text == f"{output}, which holds results already: refused without --overwrite"
    again = with_output(refused, OutputConfig(output=output, overwrite=True))
    assert lines(describe(again))["output"].endswith("already: deleted first")
    assert len(Sink(url=output).parts("captions")) == 1


@pytest.mark.usefixtures("one_gigaflops")
def test_a_dry_run_shows_no_secrets(data: Path) -> None:
    output = OutputConfig(output="memory://user:secret@bucket/x")
    text = describe(with_output(config(data, run=RunConfig(dry_run=True)), output))
    assert "secret" not in text and "bucket/x" in text


@pytest.mark.usefixtures("one_gigaflops")
def test_questions_come_from_a_column(data: Path) -> None:
    found = lines(describe(config(data, question=QuestionConfig(), run=RunConfig(dry_run=True))))
    assert found["prompt"] == "from column 'question'"
