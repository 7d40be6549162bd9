"""Command line and files: what is read, what overrides what, one clear line for every mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.command_line.cli import parse_job
from pipeline.job.plan import make_plan
from pipeline.rows.errors import ConfigError, JobError
from pipeline.settings.config import CaptionConfig, JobConfig, QuestionConfig
from tests.support.checkpoints import EMBEDDED
from tests.support.resolved import resolved

ROOT = EMBEDDED.parents[1]
NEEDED = ("--input", "a", "--output", "o")


def parse(*argv: str) -> JobConfig:
    return parse_job(argv, CaptionConfig, "Caption images.")


def complaint(argv: Sequence[str]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(*argv)
    assert caught.value.exit_code == 2
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 200
    return line


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    return tmp_path / "job.yaml"


def test_flags_reach_their_sections() -> None:
    config = parse(
        *("--input", "a", "b c", "s3://x/*.tar", "--output", "o"),
        *("--budget", "0.3", "--prompt", "What?", "--limit", "7", "--max-new-tokens", "5"),
        *("--dry-run", "--no-progress", "--storage-options", '{"endpoint_url": "http://h:1"}'),
    )
    assert config.input.input == ["a", "b c", "s3://x/*.tar"]
    assert config.input.limit == 7
    assert config.input.storage_options == {"endpoint_url": "http://h:1"}
    assert config.output.output == "o"
    assert config.reduction.budget == 0.3
    assert config.question == CaptionConfig(prompt="What?")
    assert config.generation.max_new_tokens == 5
    assert config.run.dry_run
    assert not config.run.progress


def test_underscores_are_as_good_as_dashes_and_values_keep_theirs() -> None:
    config = parse(*NEEDED, "--max_new_tokens", "5", "--image_column=my_image", "--dry_run")
    assert config.generation.max_new_tokens == 5
    assert config.input.image_column == "my_image"
    assert config.run.dry_run


def test_options_of_the_method(settings: Path) -> None:
    settings.write_text("method: hired\nmethod_options:\n  dropping: middle\npositions: original\n")
    chosen = parse(*NEEDED, "--config", str(settings)).reduction
    assert chosen.variations == {"dropping": "middle", "positions": "original"}
    options = '{"allocation": "final", "heads": "none"}'
    chosen = parse(*NEEDED, "--config", str(settings), "--method-options", options).reduction
    assert chosen.variations == {"allocation": "final", "heads": "none", "positions": "original"}
    options = '{"allocation": "middle"}'
    assert "even" in complaint([*NEEDED, "--method", "hired", "--method-options", options])
    pairs = [
        "--method",
        "hired",
        "--method-options",
        "dropping=middle",
        "--method-options",
        "skip_below=4",
    ]
    assert parse(*NEEDED, *pairs).reduction.options.skip_below == 4
    line = complaint([*NEEDED, "--skip-below", "4"])
    assert line.startswith("--skip-below: no setting, but an option of hired: --method-options sk")
    line = complaint([*NEEDED, "--method", "uniform", "--method-options", '{"heads": "none"}'])
    assert line == "heads: no option of method uniform; it has allocation, alpha"


def test_questions_have_a_column_and_no_prompt() -> None:
    config = parse_job([*NEEDED, "--question-column", "q"], QuestionConfig, "Answer.")
    assert config.question == QuestionConfig(question_column="q")
    with pytest.raises(ConfigError, match="--prompt: no such setting"):
        parse_job([*NEEDED, "--prompt", "What?"], QuestionConfig, "Answer.")


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("joined", [True, False])
def test_flags_override_files_whatever_the_order(settings: Path, first: bool, joined: bool) -> None:
    settings.write_text("input: [x, y]\noutput: o\nbudget: 0.3\nlimit: 3\ndry_run: true\n")
    file = [f"--config={settings}"] if joined else ["--config", str(settings)]
    flags = ["--budget", "0.5", "--no-dry-run"]
    config = parse(*(file + flags if first else flags + file))
    assert config.reduction.budget == 0.5
    assert not config.run.dry_run
    assert (config.input.input, config.input.limit) == (["x", "y"], 3)


def test_a_later_file_overrides_an_earlier_one(settings: Path, tmp_path: Path) -> None:
    settings.write_text("input: [x]\noutput: o\nbudget: 0.3\nlimit: 3\n")
    other = tmp_path / "other.yaml"
    other.write_text("budget: 0.4\n")
    config = parse("--config", str(settings), "--config", str(other))
    assert (config.reduction.budget, config.input.limit) == (0.4, 3)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ("--budgte 0.3", "--budgte: no such setting; did you mean --budget?"),
        ("--max-token 3", "--max-token: no such setting; did you mean --max-new-tokens?"),
        ("--zzz 3", "--zzz: no such setting; --help all lists them"),
        ("--alph 0.3", "--alph: no such setting; did you mean --alpha?"),
        ("extra", "extra: expected a --name before it"),
        ("--dry-run false", "false: expected a --name before it"),
        ("--dry-run=maybe", "dry-run: takes no value"),
        ("--budget high", "budget: expected a number or null, got 'high'"),
        ("--limit 1e3", "limit: expected a whole number or null, got '1e3'"),
        ("--limit true", "limit: expected a whole number or null, got 'true'"),
        ("--seed 1.5", "seed: expected a whole number, got '1.5'"),
        ("--storage-options 5", "storage_options: expected a JSON object"),
        ("--dtype half", "dtype: expected one of 'auto', 'float32', 'float16', 'bfloat16', got "),
        ("--limit 0", "limit: 0 is out of range; allowed: 1 or more"),
        ("--alpha 2", "alpha: 2.0 is out of range; allowed: 0 to 1"),
        ("--budget 7.5", "budget: 7.5 is out of range; allowed: 0 < x < 1 (a fraction), 1 (dense)"),
        ("--budget 0", "budget: 0.0 is out of range"),
        ("--budget 0%", "budget: 0.0 is out of range"),
        ("--budget %", "budget: expected a number or null, got '%'"),
        ("--method dense --budget 0.2", "budget: 0.2 contradicts --method dense"),
        ('--method-options {"transposed_grid":true}', "transposed_grid: no option of method"),
        ("--prompt", "prompt: expected one argument"),
        ("--output=", "output: '' is out of range; allowed: a folder or URL"),
        (
            "--config /no/such.yaml",
            "config: cannot read '/no/such.yaml': No such file or directory",
        ),
        ("--config /", "config: cannot read '/': Is a directory"),
        ("-l 5", "-l: no such setting"),
        ("--no-limit", "--no-limit: no such setting; did you mean --limit?"),
        ("--no-progress=1", "no-progress: takes no value"),
        ("--top-p null", "top_p: expected a number, got 'null'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(argv: str, line: str) -> None:
    assert complaint([*NEEDED, *argv.split()]).startswith(line)


def test_what_is_required_is_named() -> None:
    assert complaint(["--input", "a"]) == "output: required, but not given"
    assert complaint([]) == "input, output: required, but not given"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("budgte: 0.3", "budgte: no such setting; did you mean budget?"),
        ("selection: {budget: 0.3}", "selection.budget: no such setting; did you mean budget?"),
        ("5: 6", "5: no such setting"),
        ("budget: high", "budget: expected a number or null, got 'high'"),
        ("budget: [1]", "budget: expected a number or null, got '[1]'"),
        ("limit: 1.5", "limit: expected a whole number or null, got '1.5'"),
        ("prompt: 5", "prompt: expected a text, or texts by name, got '5'"),
        ("prompt: null", "prompt: null is no value for it; leave it out"),
        ("newline: null", "newline: null is no value for it; leave it out"),
        ("dry_run: 5", "dry_run: expected true or false, got '5'"),
        ("dry_run: null", "dry_run: null is no value for it"),
        ("storage_options: 5", "storage_options: expected a JSON object"),
        ("output: [s3://k:s3cret@b]", "output: expected a text"),
        ("budget: true", "budget: expected a number or null, got 'True'"),
        ("prompt: 2026-11-20", "prompt: expected a text, or texts by name, got '2026-11-20'"),
        ("dtype: half", "dtype: expected one of 'auto', 'float32', 'float16', 'bfloat16', got "),
        ("alpha: .nan", "alpha: nan is out of range; allowed: 0 to 1"),
        ("gpu_hour_price: .inf", "gpu_hour_price: inf is out of range; allowed: 0 or more"),
        ("budget: 7.5", "budget: 7.5 is out of range"),
        ("prompt: ' '", "prompt: ' ' is out of range; allowed: a text that is not blank"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(settings: Path, text: str, line: str) -> None:
    settings.write_text(f"input: [a]\noutput: o\n{text}\n")
    assert complaint(["--config", str(settings)]).startswith(line)


@pytest.mark.parametrize("value", ["5", "data/", "{a: b}", "[1]", "[[a]]"])
def test_input_of_another_shape_is_one_line(settings: Path, value: str) -> None:
    settings.write_text(f"input: {value}\noutput: o\n")
    expected = "input: expected a list of texts, e.g. [a, b]"
    assert complaint(["--config", str(settings)]) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a\n- b\n", "config: a file of lines like 'budget: 0.2' is expected"),
        ("just words\n", "config: a file of lines like 'budget: 0.2' is expected"),
        ("", "config: a file of lines like 'budget: 0.2' is expected"),
        ("a: [\n", "config: no valid YAML: line 2, column 1"),
        ("a: 2026-13-45\n", "config: no valid YAML"),
        ("a: \x00\n", "config: no valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_line(settings: Path, text: str, line: str) -> None:
    settings.write_text(text)
    assert complaint(["--config", str(settings), *NEEDED]).startswith(line)


def test_secrets_are_not_repeated(settings: Path) -> None:
    settings.write_text("storage_options: s3cret\noutput: o\ninput: [a]\n")
    assert "s3cret" not in complaint(["--config", str(settings)])
    assert "s3cret" not in complaint([*NEEDED, "--storage-options", '{"key": s3cret'])
    signed = "https://user:s3cret@host/a"
    assert "s3cret" not in complaint([*NEEDED, "--dtype", signed])


def test_inputs_add_up_and_of_other_flags_the_last_counts() -> None:
    config = parse(
        *("--input", "a", "b", "--output", "o", "--input", "c", "--limit", "1", "--limit", "2")
    )
    assert (config.input.input, config.input.limit) == (["a", "b", "c"], 2)


def test_values_may_look_like_flags_where_they_are_attached() -> None:
    assert parse(*NEEDED, "--prompt=--what?").question == CaptionConfig(prompt="--what?")
    assert parse(*NEEDED, "--prompt", "-1 = ?").question == CaptionConfig(prompt="-1 = ?")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ((*NEEDED, "--model", "./no/such/model"), "model: no checkpoint folder at './no/such/m"),
        (("--input", "no/such/*.tar", "--output", "o"), "nothing matches "),
    ],
)
def test_what_only_the_plan_can_refuse_ends_with_2(argv: tuple[str, ...], line: str) -> None:
    with pytest.raises(JobError) as caught:
        make_plan(resolved(parse(*argv)))
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_the_process_ends_with_2_and_one_line(settings: Path) -> None:
    settings.write_text("input: [a]\noutput: o\nbudget: 1.5\n")
    done = subprocess.run(
        [sys.executable, "jobs/caption.py", "--config", str(settings)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: budget: 1.5 is out of range; allowed: 0 < x < 1 (a fraction), 1 (dense) or a "
        "whole number above 1 (a count)"
    ]


def test_a_schema_is_a_file_or_stands_in_one(tmp_path: Path, settings: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    file = tmp_path / "date=2026.json"
    file.write_text(json.dumps(schema))
    assert parse(*NEEDED, "--schema", str(file)).generation.schema == schema
    settings.write_text(f"schema: {json.dumps(schema)}\n")
    assert parse(*NEEDED, "--config", str(settings)).generation.schema == schema
    assert parse(*NEEDED, "--choices", "red, blue", "green").generation.choices == (
        *("red", "blue", "green"),
    )


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--schema", "/nowhere.json"), "schema: cannot read '/nowhere.json': No such file"),
        (("--choices", ""), "choices: [''] is out of range; allowed: texts with commas"),
        (("--choices", "a,b,a"), "choices: 'a' is there more than once"),
        (("--schema", str(ROOT / "LICENSE")), "LICENSE' is no JSON"),
    ],
)
def test_forms_that_cannot_be_are_told(argv: tuple[str, ...], told: str) -> None:
    assert told in complaint([*NEEDED, *argv])


def test_prompts_have_names_or_there_is_one(settings: Path) -> None:
    two = parse(*NEEDED, "--prompt", "a=One line.", "--prompt", "b={{ alt }}, x=1").question
    assert isinstance(two, CaptionConfig)
    assert [(p.name, p.text) for p in two.prompts] == [("a", "One line."), ("b", "{{ alt }}, x=1")]
    settings.write_text("input: [a]\noutput: o\nprompt: {a: One line., b: 'x'}\n")
    file = parse("--config", str(settings)).question
    assert isinstance(file, CaptionConfig)
    assert [(p.name, p.text) for p in file.prompts] == [("a", "One line."), ("b", "x")]
    over = parse("--config", str(settings), "--prompt", "One.").question
    assert over == CaptionConfig(prompt="One.")
    assert complaint([*NEEDED, "--prompt", "a=x", "--prompt", "y"]).startswith("prompt: of several")
