"""The ten lines of Python that the README prints run as printed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from tests.e2e.command import ROOT
from tests.support.docs import code_blocks

PHOTO, FORM = "parquet/samples-00.parquet#9", "parquet/samples-00.parquet#3"
TRUE = "A red square"
CLASS_OF_THE_FORM = "MPX4M"
NEEDS_TEN_LINES = 10


def test_the_readmes_python_runs_as_printed(tmp_path: Path) -> None:
    (block,) = (b for b in code_blocks((ROOT / "README.md").read_text()) if b.language == "python")
    assert len([line for line in block.text.splitlines() if line]) <= NEEDS_TEN_LINES
    samples = load_samples(SAMPLES)
    (tmp_path / "photo.jpg").write_bytes(samples[PHOTO].image)
    (tmp_path / "form.png").write_bytes(samples[FORM].image)
    done = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    caption, answers, *kept = done.stdout.splitlines()
    assert caption.startswith(TRUE)
    assert CLASS_OF_THE_FORM in answers
    assert [line.partition(",")[0] for line in kept] == ["144 of 336", "144 of 720"]
