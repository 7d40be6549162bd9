"""What is killed, how, and when."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.chaos.cluster import TwoNodes

MAX_KILLS = 3
_AGENTS: Final = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a job is; counts are over all its attempts.

    Attributes:
        merging: whether small parts are being merged just now.
    """

    seconds: float
    rows: int
    parts: int
    merging: bool = False


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When to strike, counted from the start of the attempt or from the kill before.

    "seconds": so many later. "rows", "parts": when so many more are answered or stored. "all rows":
    when the last row has been answered, and only finishing is left. "merging": while small parts
    are merged, if it is seen.
    """

    kind: Literal["seconds", "rows", "parts", "all rows", "merging"]
    value: float = 0.0

    def due(self, since: Progress, now: Progress, num_rows: int) -> bool:
        if self.kind == "all rows":
            return now.rows >= num_rows
        if self.kind == "merging":
            return now.merging
        passed = getattr(now, self.kind) - getattr(since, self.kind)
        return bool(passed >= self.value)

    def __str__(self) -> str:
        counted = self.kind not in ("all rows", "merging")
        return f"{self.kind}+{self.value:.4g}" if counted else self.kind


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One strike; `pick` in 0..1 chooses among several victims."""

    victim: str
    moment: Moment
    pick: float = 0.0

    def __str__(self) -> str:
        return f"{self.victim}@{self.moment}"

    def strike(self, cluster: TwoNodes, driver: int) -> str | None:
        """Send the signal; says what was hit, None when no such process is there just now."""
        found = sorted(VICTIMS[self.victim](cluster, driver), key=lambda v: (v.title, v.pid))
        if not found:
            return None
        victim = found[int(self.pick * len(found))]
        try:
            os.kill(victim.pid, SIGNALS.get(self.victim, signal.SIGKILL))
        except ProcessLookupError:
            return None
        if self.victim == "node":
            cluster.replace_second()
        return f"{victim.title} ({victim.pid})"


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Size of an undisturbed run: moments are drawn to fall within it."""

    seconds: float
    rows: int
    parts: int


def draw_kills(rng: random.Random, extent: Extent, more: tuple[str, ...] = ()) -> tuple[Kill, ...]:
    """One to three kills, of what every job has and `more`."""
    victims = [*(name for name in VICTIMS if name not in OF_SOME_JOBS), *more]
    return tuple(
        Kill(victim=rng.choice(victims), moment=_draw_moment(rng, extent), pick=rng.random())
        for _ in range(rng.randint(1, MAX_KILLS))
    )


def _draw_moment(rng: random.Random, extent: Extent) -> Moment:
    fraction = 0.8 * rng.random()
    moments = (
        Moment(kind="seconds", value=fraction * extent.seconds),
        Moment(kind="rows", value=1 + int(fraction * extent.rows)),
        Moment(kind="parts", value=1 + int(fraction * extent.parts)),
        Moment(kind="all rows"),
        Moment(kind="merging"),
    )
    return rng.choices(moments, weights=(4, 3, 3, 2, 2))[0]


@dataclass(frozen=True)
class _Process:
    pid: int
    title: str


def _driver(cluster: TwoNodes, driver: int) -> list[_Process]:
    return [_Process(driver, "driver")]


def _node(cluster: TwoNodes, driver: int) -> list[_Process]:
    return [_Process(cluster.raylets["second"], "raylet of the second node")]


def _task_workers(cluster: TwoNodes, driver: int) -> list[_Process]:
    return [w for w in _workers(cluster) if w.title.startswith("ray::MapBatches(")]


def _model_actors(cluster: TwoNodes, driver: int) -> list[_Process]:
    return [w for w in _workers(cluster) if w.title.startswith("ray::MapWorker(")]


def _registry(cluster: TwoNodes, driver: int) -> list[_Process]:
    return [w for w in _workers(cluster) if w.title.startswith("ray::RegistryActor")]


def _any_worker(cluster: TwoNodes, driver: int) -> list[_Process]:
    """Of tasks, of Ray Data's own actors, of the progress counter, or idle."""
    return [w for w in _workers(cluster) if w.title.startswith("ray::")]


VICTIMS: Final[dict[str, Callable[[TwoNodes, int], list[_Process]]]] = {
    "driver": _driver,
    "driver-term": _driver,
    "driver-int": _driver,
    "worker": _task_workers,
    "actor": _model_actors,
    "any-worker": _any_worker,
    "node": _node,
    "registry": _registry,
}
OF_SOME_JOBS: Final = ("registry",)
SIGNALS: Final = {"driver-term": signal.SIGTERM, "driver-int": signal.SIGINT}
"""What is not SIGKILL."""


def _workers(cluster: TwoNodes) -> Iterator[_Process]:
    """Worker processes of both nodes: children of the raylets; Ray titles them by what they do."""
    raylets = set(cluster.raylets.values())
    for folder in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # not a process, or gone by now
            if _parent(folder) in raylets and not (title := _title(folder)).startswith(_AGENTS):
                yield _Process(int(folder.name), title)


def _parent(folder: Path) -> int:
    # The name before it stands in brackets and may hold blanks itself.
    return int((folder / "stat").read_text().rpartition(")")[2].split()[1])


def _title(folder: Path) -> str:
    return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
