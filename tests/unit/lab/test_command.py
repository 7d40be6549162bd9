"""`hired`: its commands, and help that is short and waits for nothing heavy."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lab
from lab.command import COMMANDS, main

ROOT = Path(lab.__file__).parents[1]
SCREENS = 48  # lines: two of 24
COLUMNS = 100
HEAVY = {"torch", "ray", "transformers"}
JOBS = ("caption", "vqa", "evaluate", "benchmark")

PROBE = """
import json, sys
from lab.command import main
try:
    code = main(sys.argv[1:])
except SystemExit as exc:
    code = exc.code
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps([code, loaded]), file=sys.stderr)
"""


def ran(*argv: str) -> tuple[int, str, set[str], str]:
    """Exit code, output, what was imported, and what was complained of, in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *argv],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    *complaints, last = done.stderr.splitlines()
    code, loaded = json.loads(last)
    return code, done.stdout, set(loaded), "\n".join(complaints)


@pytest.mark.parametrize("command", JOBS)
def test_help_fits_on_two_screens_and_loads_nothing_heavy(command: str) -> None:
    code, text, loaded, _ = ran(command, "--help")
    lines = text.splitlines()
    assert code == 0
    assert 20 < len(lines) <= SCREENS
    assert max(map(len, lines)) <= COLUMNS
    assert f"`hired {command} --help all` explains all" in text
    assert "pipeline" in loaded  # the probe sees something
    assert not loaded & HEAVY


@pytest.mark.parametrize("command", JOBS)
def test_all_help_has_every_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    pages = []
    for asked in (["--help"], ["--help", "all"]):
        with pytest.raises(SystemExit) as caught:
            main([command, *asked])
        assert caught.value.code == 0
        pages.append(capsys.readouterr().out)
    short, full = pages
    number = int(short.partition("explains all ")[2].split()[0])
    entries = [line for line in full.splitlines() if line.startswith("  --")]
    assert len(entries) == number > short.count("\n  --") - 1
    assert max(map(len, full.splitlines())) <= COLUMNS


def test_help_of_a_job_explains_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["caption", "--help", "all"])
    text = capsys.readouterr().out
    assert "Caption images" in text
    for section in ("Prompt:", "Input:", "Output:", "Model:", "Visual tokens:", "Generation:"):
        assert f"\n{section}\n" in text
    for flag in ("--input ", "--output ", "--budget ", "--dry-run", "--max-new-tokens "):
        assert f"  {flag}" in text
    assert "a share of the model's largest count" in " ".join(text.lower().split())


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("caption", "--budgte", "1"), "error: --budgte: no such setting; did you mean --budget?"),
        (("evaluate", "--budgets", "x", "--output", "o"), "error: budgets: expected numbers, got"),
        (("benchmark", "--parts", "all"), "error: parts: no part 'all'; there are end-to-end"),
        (("train-embedded", "eyes"), "error: eyes: choose all or one of shards, vision"),
        (("captoin",), "error: captoin: no such command; did you mean caption?"),
    ],
)
def test_a_mistake_waits_for_nothing_heavy_either(argv: tuple[str, ...], line: str) -> None:
    code, text, loaded, complaint = ran(*argv)
    assert (code, text) == (2, "")
    assert complaint.startswith(line) and "\n" not in complaint
    assert not loaded & HEAVY


def test_every_command_has_a_function_and_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    for name, (home, line) in COMMANDS.items():
        module, _, function = home.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
        assert (ROOT / "jobs" / f"{name.replace('-', '_')}.py").is_file()
        assert f"  {name} " in page and line in page


def test_without_a_command_it_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: hired COMMAND" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("hired 0.")


def test_stages_of_training_are_those_it_knows() -> None:
    from lab.training import command, stages

    assert tuple(stages.STAGES) == command._STAGES
