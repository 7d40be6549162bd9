"""Ray's processes, as `connect` starts it."""

from __future__ import annotations

import json

from tests.e2e.command import run_python

# An actor holds all CPUs, as models do on a small machine; tasks come with pauses of 2 seconds.
SCRIPT = """
import json, os, time
import ray
from pipeline.job.session import connect

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
    printed = run_python("-c", SCRIPT, timeout_sec=300)
    assert len(set(json.loads(printed.splitlines()[-1]))) == 1
