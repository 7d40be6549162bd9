"""What `make demo` runs: the shipped model on the shipped samples, through Ray."""

from __future__ import annotations

import json
from pathlib import Path

from lab.demo import SAMPLES
from lab.evaluation.gallery import compare, load_samples, overall_f1
from pipeline.parts.sink import Sink
from tests.e2e.command import run_python

NUM_SAMPLES, NUM_BROKEN = 64, 6


def test_demo_captions_are_true(tmp_path: Path) -> None:
    printed = run_python("jobs/demo.py", "--output", str(tmp_path), timeout_sec=500)
    assert "per 1000 images" in printed
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["captioned"] == NUM_SAMPLES
    assert report["quarantined"] == NUM_BROKEN
    compared = compare(Sink(url=str(tmp_path)), load_samples(SAMPLES))
    assert len(compared) == NUM_SAMPLES
    assert overall_f1(compared) >= 0.7
    page = (tmp_path / "index.html").read_text()
    assert page.count('<figure class="card"') == NUM_SAMPLES + NUM_BROKEN
