"""Ray's processes, as `connect` starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# An actor holds all CPUs, as models do on a small machine; tasks come with pauses of 2 seconds.
SCRIPT = """
import json, os, time
import ray
from pipeline.session import connect

connect()

@ray.remote
class Model:
    def ready(self):
        return True

@ray.remote(num_cpus=0)
def process():
    return os.getpid()

model = Model.options(num_cpus=ray.cluster_resources()["CPU"]).remote()
ray.get(model.ready.remote())
found = [ray.get(process.remote())]
for _ in range(2):
    time.sleep(2.0)
    found.append(ray.get(process.remote()))
print(json.dumps(found))
"""


def test_a_pause_does_not_end_the_process_of_a_task() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(set(json.loads(done.stdout.splitlines()[-1]))) == 1
