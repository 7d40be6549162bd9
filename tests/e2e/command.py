"""A Python command of its own, as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "run_python"]

ROOT = Path(__file__).parents[2]


def run_python(*arguments: str, timeout_sec: float) -> str:
    """What `python ARGUMENTS` prints, in the repository and without this process's Ray."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("RAY_")},
        capture_output=True,
        text=True,
        timeout=timeout_sec,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
