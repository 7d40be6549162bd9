"""A Ray head node started as a user would, with token authentication, and stopped by process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
START_SEC = 120


@dataclass(frozen=True, kw_only=True)
class Head:
    """Where the head's job server listens, and the environment that may talk to it."""

    url: str
    environment: dict[str, str]


@contextmanager
def ray_head(folder: Path, num_cpus: int = 2) -> Iterator[Head]:
    """`ray start --head` with every port free; `ray stop` would end other clusters as well."""
    names = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port")
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    environment = _environment(folder)
    _ray("get-auth-token", "--generate", environment=environment)
    flags = [f"--{name}={port}" for name, port in ports.items()]
    limits = [f"--num-cpus={num_cpus}", f"--object-store-memory={400 * 1024**2}"]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            [BIN / "ray", "start", "--head", "--block", "--disable-usage-stats", *limits, *flags],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        _wait_for(url, process, folder / "head.log")
        yield Head(url=url, environment=environment)
    finally:
        _stop(process)


def _environment(folder: Path) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTHONPATH"))}
    return inherited | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "HOME": str(folder),  # where the token is kept
        "RAY_TMPDIR": str(folder),
    }


def _ray(*arguments: str, environment: dict[str, str]) -> None:
    subprocess.run([BIN / "ray", *arguments], env=environment, check=True, capture_output=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the job server answers, if only that a token is needed."""
    deadline = time.monotonic() + START_SEC
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/api/jobs/", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the head did not start:\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the head and all it started; they share its session."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
