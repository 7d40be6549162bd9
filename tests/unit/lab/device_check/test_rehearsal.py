"""The whole check on a CPU, with tiny sizes, by the script that a GPU machine runs.

That machine has torch, transformers, numpy, pillow and pyarrow; what else this one has is hidden.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.device_check.bench import REHEARSAL, Bench, Sizes
from lab.device_check.plan import plan
from lab.device_check.requests import difference, requests_of

ROOT = Path(__file__).parents[4]
HIDDEN = (
    *("ray", "duckdb", "aiohttp", "s3fs", "tenacity", "backports", "braceexpand", "matplotlib"),
    *("py3langid", "imagehash", "jsonschema", "referencing", "llguidance", "datasets", "pi_heif"),
)
SCRIPT = f"""
import runpy, sys
for name in {HIDDEN!r}:
    sys.modules[name] = None  # As if it were not installed.
sys.argv = ["device_check.py", *sys.argv[1:]]
runpy.run_path("jobs/device_check.py", run_name="__main__")
"""
NEEDS_A_GPU = {"gpu tests", "waits", "memory", "shortage"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("check") / "report.json"
    command = [sys.executable, "-c", SCRIPT, "--rehearse", "--output", str(output)]
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=one)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all good" in done.stdout
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_every_step_passes_or_says_why_not(report: dict[str, Any]) -> None:
    steps = report["steps"]
    assert list(steps) == [step.name for step in plan(REHEARSAL)]
    skipped = {name for name, entry in steps.items() if entry["status"] == "skipped"}
    assert skipped == NEEDS_A_GPU | {"vllm"}
    assert all("GPU" in steps[name]["why"] for name in NEEDS_A_GPU)
    assert {entry["status"] for entry in steps.values()} == {"passed", "skipped"}


def test_figures_are_there(report: dict[str, Any]) -> None:
    steps = report["steps"]
    assert steps["texts"]["compared"].keys() == {
        *("budget 1 to generate", "budget 0.2 to generate", "dense to the model unmodified")
    }
    assert all(each["equal"] == 4 for each in steps["texts"]["compared"].values())
    assert steps["ours 0.2"]["measured"]["images_per_sec"]["median"] > 0
    shares = steps["ours 0.2"]["roofline"]
    assert shares.keys() == {"vision", "prefill", "decode"}
    assert all(each["share"] > 0 and each["ms"] > 0 for each in shares.values())
    assert steps["machine"]["versions"]["torch"] == torch.__version__
    ways = steps["attention"]["ways"]
    assert all(each["off"] < 1e-5 for name, each in ways.items() if "unmasked" not in name)


def test_a_text_that_parts_by_an_error_is_no_tie() -> None:
    bench = Bench(device=torch.device("cpu"), sizes=REHEARSAL)
    (request,) = requests_of(bench.small, bench.images[:1], 0.2)
    model = bench.small.language
    assert difference(model, request, [5, 6, 7], [5, 6, 7]) is None
    parted = difference(model, request, [5, 6, 7], [5, 9, 7])
    assert parted is not None and parted["at"] == 1 and parted["gap"] > 1e-3
    shorter = difference(model, request, [5], [5, 9])
    assert shorter is not None and shorter["at"] == 1


def test_a_real_run_fits_its_deadline() -> None:
    """As reckoned, without vLLM, which is nowhere yet."""
    steps = plan(Sizes())
    assert sum(step.needs_sec for step in steps if step.name != "vllm") <= 450
    assert len({step.name for step in steps}) == len(steps)
