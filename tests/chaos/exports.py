"""An export killed again and again until it is done: every caption is in it, once."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.attempts import Job
from tests.chaos.cluster import ROOT

KILLS = 2
MAX_ATTEMPTS = KILLS + 2
ROWS_PER_FILE = 40


def export_under_fire(
    job: Job,
    into: Path,
    rng: random.Random,
    expected: set[str],
    environment: Mapping[str, str],
) -> list[str]:
    """What is wrong with JSON lines that were exported under kills; empty if nothing is.

    Args:
        expected: ids of the captions.
    """
    codes: list[int] = []
    for attempt in range(MAX_ATTEMPTS):
        # Long enough to import all that it needs, and now and then to be done.
        seconds = rng.uniform(1.5, 6.0) if attempt < KILLS else None
        codes.append(_attempt(job, into, seconds, environment))
        if codes[-1] == 0:
            break
    if codes[-1] != 0:
        return [f"exports ended with {codes}; see {job.log}"]
    lines = [line for path in into.glob("*.jsonl") for line in path.read_text().splitlines()]
    times = Counter(json.loads(line)["image_id"] for line in lines)
    found = [f"exported {n} times: {i}" for i, n in times.items() if n > 1]
    if times.keys() != expected:
        found.append(f"{len(expected - times.keys())} captions are not in the export")
    left = [path.name for path in into.rglob("*") if ".tmp" in path.name]
    return [*found[:3], *(f"the export left {name}" for name in left[:3])]


def _attempt(job: Job, into: Path, seconds: float | None, environment: Mapping[str, str]) -> int:
    command = [sys.executable, "jobs/export.py", job.output.url, "--to", "jsonl"]
    flags = ["--into", str(into), "--rows-per-file", str(ROWS_PER_FILE)]
    with job.log.open("a") as log:
        process = subprocess.Popen(
            [*command, *flags], cwd=ROOT, env=dict(environment), stdout=log, stderr=log
        )
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            return process.wait()
