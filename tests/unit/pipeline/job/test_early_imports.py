"""Imports of a run that begin while Ray starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pipeline

ROOT = Path(pipeline.__file__).parents[1]

CODE = """
import sys
from pipeline.job.early_imports import importing
with importing({model!r}):
    print("inside", "torch" in sys.modules and hasattr(sys.modules["torch"], "nn"))
wanted = ("torch", "ray.data", "pipeline.job.run", "hired_core.models.llava_next")
print([name for name in wanted if name in sys.modules])
"""


def printed(model: str | None) -> list[str]:
    run = [sys.executable, "-c", f"import ray\n{CODE.format(model=model)}"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_all_of_a_run_is_there_and_the_caller_did_not_wait() -> None:
    wanted = ["torch", "ray.data", "pipeline.job.run", "hired_core.models.llava_next"]
    assert printed("embedded") == ["inside False", str(wanted)]


def test_without_a_model_nothing_is_imported() -> None:
    assert printed(None) == ["inside False", "[]"]


def test_a_checkpoint_that_is_none_is_told_later() -> None:
    found = printed(str(ROOT / "docs"))
    assert "pipeline.job.run" in found[1] and "llava_next" not in found[1]
