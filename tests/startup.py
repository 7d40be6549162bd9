"""What a small job does before its first text: `python -m tests.startup --runs 3 --old ../before`.

Runs `jobs/caption.py` on a few of the shipped samples, of this tree and of an older one in turns,
and looks every tenth of a second at the processes below it. Seconds of CPU are less at the mercy of
what else the machine does than seconds of a clock; both mean little on a busy one.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from lab.environment import environment

ROOT: Final = Path(__file__).parents[1]
_SAMPLES: Final = "lab/demo/samples/parquet/samples-00.parquet"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_EVERY_SEC: Final = 0.1


@dataclass(kw_only=True)
class Process:
    """One of the job's.

    Attributes:
        name: what it is last seen to be; Ray titles its workers by what they do.
        started_sec: after the command.
        cpu: (seconds after the command, seconds of CPU by then), each time that it was looked at.
    """

    name: str
    started_sec: float
    cpu: list[tuple[float, float]] = field(default_factory=list)

    def cpu_until(self, second: float) -> float:
        return max((used for at, used in self.cpu if at <= second), default=0.0)


@dataclass(frozen=True, kw_only=True)
class Start:
    """One run: seconds to the first text, and what each process had used by then."""

    first_text_sec: float
    wall_sec: float
    cpu_sec: float
    load: float
    processes: list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--old", type=Path, help="another checkout, to compare with")
    parser.add_argument("--output", type=Path, default=Path("out/startup.json"))
    options = parser.parse_args()
    trees = {"new": ROOT} | ({"old": options.old.resolve()} if options.old else {})
    found: dict[str, list[Start]] = {name: [] for name in trees}
    for _ in range(options.runs):
        for name, tree in trees.items():
            found[name].append(start(tree, options.images))
            print(f"{name}: {_line(found[name][-1])}", flush=True)
    content = {name: [asdict(run) for run in runs] for name, runs in found.items()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps({"environment": environment(torch.device("cpu"))} | content, indent=1) + "\n"
    )
    for line in _compared(found):
        print(line)


def start(tree: Path, images: int) -> Start:
    """Of one run, from the command to its end."""
    with TemporaryDirectory(prefix="startup-") as folder:
        command = ["--input", _SAMPLES, "--output", folder, "--limit", str(images)]
        load, began = os.getloadavg()[0], time.time()
        job = subprocess.Popen(
            [sys.executable, "jobs/caption.py", *command, "--max-new-tokens", "16"],
            cwd=tree,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        processes = _watched(job, began)
        if job.returncode:
            raise RuntimeError(f"the job ended with {job.returncode}")
        report = json.loads((Path(folder) / "report.json").read_text())
    first = report["first_text_sec"]
    told = sorted(
        (
            {"name": p.name, "started_sec": round(p.started_sec, 1), "cpu_sec": p.cpu_until(first)}
            for p in processes.values()
        ),
        key=lambda each: float(each["started_sec"]),
    )
    return Start(
        first_text_sec=first,
        wall_sec=time.time() - began,
        cpu_sec=sum(float(each["cpu_sec"]) for each in told),
        load=load,
        processes=told,
    )


def _watched(job: subprocess.Popen[bytes], began: float) -> dict[int, Process]:
    """The job and all below it, by process id, until it ends."""
    found: dict[int, Process] = {}
    while job.poll() is None:
        now = time.time() - began
        for pid, used, age in _below(job.pid):
            process = found.setdefault(pid, Process(name="", started_sec=max(0.0, now - age)))
            process.name = _title(pid) or process.name
            process.cpu.append((now, used))
        time.sleep(_EVERY_SEC)
    return found


def _below(root: int) -> Iterator[tuple[int, float, float]]:
    """(process id, seconds of CPU, age in seconds) of `root` and its descendants."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    seen: dict[int, list[str]] = {}
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            seen[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
    wanted, left = {root}, True
    while left:
        more = {pid for pid, stat in seen.items() if int(stat[1]) in wanted} - wanted
        wanted |= more
        left = bool(more)
    for pid in wanted & seen.keys():
        stat = seen[pid]
        used = (int(stat[11]) + int(stat[12])) / _TICKS
        yield pid, used, uptime - int(stat[19]) / _TICKS


def _title(pid: int) -> str:
    """The last file of its command, or what Ray calls it."""
    with suppress(OSError):
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
        texts = [word.decode(errors="replace").strip() for word in words if word.strip()]
        if texts and texts[0].startswith("ray::"):
            return texts[0]
        scripts = [Path(text).name for text in texts[:6] if text.endswith(".py")]
        return (scripts or [Path(texts[0]).name])[0] if texts else ""
    return ""


def _line(run: Start) -> str:
    return (
        f"{run.first_text_sec:.1f} s to the first text, {run.cpu_sec:.1f} s of CPU in "
        f"{len(run.processes)} processes, load before {run.load:.1f}"
    )


def _compared(found: dict[str, list[Start]]) -> Sequence[str]:
    medians = {
        name: (
            statistics.median(run.first_text_sec for run in runs),
            statistics.median(run.cpu_sec for run in runs),
        )
        for name, runs in found.items()
    }
    lines = [f"{name}: median {a:.1f} s, {b:.1f} s of CPU" for name, (a, b) in medians.items()]
    if "old" in medians:
        ratios = [old / new for old, new in zip(medians["old"], medians["new"], strict=True)]
        lines.append(f"old / new: {ratios[0]:.2f} in time, {ratios[1]:.2f} in CPU")
    return lines


if __name__ == "__main__":
    main()
