"""What `make demo` runs: the shipped model on the shipped samples, through Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline.evaluation.gallery import compare, load_samples, overall_f1
from pipeline.sink import Sink

ROOT = Path(__file__).parents[2]
NUM_SAMPLES, NUM_BROKEN = 64, 6


def test_demo_captions_are_true(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "jobs/demo.py", "--output", str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert "per 1000 images" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["captioned"] == NUM_SAMPLES
    assert report["quarantined"] == NUM_BROKEN
    compared = compare(Sink(url=str(tmp_path)), load_samples(ROOT / "samples"))
    assert len(compared) == NUM_SAMPLES
    assert overall_f1(compared) >= 0.7
    page = (tmp_path / "index.html").read_text()
    assert page.count("<figure>") == NUM_SAMPLES
