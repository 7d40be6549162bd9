"""A Ray cluster of two nodes on this machine, in a process of its own.

The process holds a `ray.cluster_utils.Cluster` and takes orders on its standard input; when that
closes, as it does when the harness dies, it ends the cluster. Run as a module it is that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HEAD_CPUS, SECOND_CPUS = 1, 2
OBJECT_STORE_BYTES = 200 * 1024**2
STOP_SEC = 60
STARTS = 3


@dataclass
class TwoNodes:
    """The cluster as the harness sees it.

    Attributes:
        environment: what a driver needs to join, and all that a worker was started with.
    """

    environment: Mapping[str, str]
    _process: subprocess.Popen[str]
    _state: dict[str, Any] = field(default_factory=dict)

    @property
    def raylets(self) -> dict[str, int]:
        """Process ids by node, "head" and "second"."""
        return dict(self._state["raylets"])

    def replace_second(self) -> None:
        """Remove what is left of the second node and start another; returns when it has joined."""
        assert self._process.stdin is not None
        self._process.stdin.write("replace\n")
        self._process.stdin.flush()
        self._read()

    def _read(self) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the cluster's process ended with {self._process.wait()}")
        self._state = json.loads(line)


@contextmanager
def two_nodes(folder: Path, environment: dict[str, str]) -> Iterator[TwoNodes]:
    """A head and a second node that live as long as the block.

    Args:
        folder: for logs and sockets; keep it short, since paths of Unix sockets end at 107
            characters. Ray's note of "the current cluster" goes there as well, so that no other
            driver on this machine joins by accident.
        environment: added to that of all processes, e.g. where S3 is.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    everything = inherited | {"RAY_TMPDIR": str(folder), "PYTHONPATH": str(ROOT)} | environment
    cluster = _started(folder / "cluster.log", everything)
    try:
        cluster.environment = everything | {"RAY_ADDRESS": cluster._state["address"]}
        yield cluster
    finally:
        cluster._process.communicate(timeout=STOP_SEC)


def _started(log: Path, environment: dict[str, str]) -> TwoNodes:
    """A cluster that is there; Ray gives a node up that a busy machine starts too slowly."""
    for _ in range(STARTS):
        cluster = TwoNodes(environment, _process(log, environment))
        try:
            cluster._read()
        except RuntimeError as exc:
            told = exc
        else:
            return cluster
    raise RuntimeError(f"{told}:\n{log.read_text(errors='replace')[-2000:]}") from told


def _process(log: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    with log.open("a") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.cluster"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,  # Ctrl-C is for the harness, which then ends the cluster
        )


def _serve() -> None:
    """Start the cluster, then obey until standard input ends."""
    from ray.cluster_utils import Cluster

    # Whatever Ray prints must not end up among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    options = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": HEAD_CPUS, **options})
    second = cluster.add_node(num_cpus=SECOND_CPUS, **options)
    _answer(answers, cluster, second)
    for _ in sys.stdin:
        cluster.remove_node(second, allow_graceful=False)
        second = cluster.add_node(num_cpus=SECOND_CPUS, **options)
        _answer(answers, cluster, second)
    cluster.shutdown()


def _answer(file: Any, cluster: Any, second: Any) -> None:
    raylets = {"head": _raylet(cluster.head_node), "second": _raylet(second)}
    print(json.dumps({"address": cluster.address, "raylets": raylets}), file=file, flush=True)


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


if __name__ == "__main__":
    _serve()
