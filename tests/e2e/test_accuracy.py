"""Accuracy of the shipped model, dense and at a fifth of the tokens, beside what is recorded.

results/accuracy-ci.json is the results.json of the same command. After a change that is meant to
move it, record it anew:

    python jobs/evaluate.py --methods hired --budgets 0.2,1 --num-samples 300 --output out/accuracy
    cp out/accuracy/results.json results/accuracy-ci.json
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.command import ROOT, run_python
from tests.support.accuracy import drops

REFERENCE = ROOT / "results" / "accuracy-ci.json"
COMMAND = ("--methods", "hired", "--budgets", "0.2,1", "--num-samples", "300")


def evaluate(output: Path) -> dict[str, Any]:
    command = ("jobs/evaluate.py", *COMMAND, "--no-progress", "--output", str(output))
    run_python(*command, timeout_sec=550)
    found: dict[str, Any] = json.loads((output / "results.json").read_text())
    return found


def test_accuracy_has_not_dropped(tmp_path: Path) -> None:
    reference = json.loads(REFERENCE.read_text())
    found = evaluate(tmp_path)
    assert found["benchmark"] == reference["benchmark"], "not the recorded questions"
    assert [variant["label"] for variant in found["variants"]] == ["hired-0.2", "dense"]
    assert all(variant["quarantined"] == 0 for variant in found["variants"])
    assert drops(reference, found) == []
