"""The crash tracker as an actor: asked from other processes, killed, gone."""

from __future__ import annotations

import os
import time

import pytest
import ray

from pipeline.stages.crash_tracker import (
    ANSWER_TIMEOUT_SEC,
    CrashTrackerClient,
    start_crash_tracker,
)

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote(num_cpus=0.1, max_retries=0)
def begin_and_die(tracker: CrashTrackerClient, ids: list[str]) -> None:
    if len(ids) > 1:
        tracker.begin_together("select", ids)
    else:
        tracker.begin_alone("select", ids[0])
    os._exit(1)


@ray.remote(num_cpus=0.1, max_retries=0)
def begin_end_and_begin(tracker: CrashTrackerClient) -> bool:
    """Ends are not waited for, and yet are in the tracker before what begins next."""
    for _ in range(20):
        if not tracker.begin_together("select", ["c", "d"]):
            return False
        tracker.end("select", ["c", "d"])
    return tracker.begin_alone("select", "c") == 0


def die_with(tracker: CrashTrackerClient, *ids: str) -> None:
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(begin_and_die.remote(tracker, list(ids)))


def test_what_a_process_began_outlives_it() -> None:
    tracker = start_crash_tracker()
    die_with(tracker, "a", "b")
    assert not tracker.begin_together("select", ["b", "e"])
    assert tracker.begin_together("generate", ["b", "e"])
    die_with(tracker, "b")
    die_with(tracker, "b")
    assert tracker.begin_alone("select", "b") == 2
    assert ray.get(begin_end_and_begin.remote(tracker))
    ray.kill(tracker.actor)


def test_without_an_answer_nobody_is_a_suspect() -> None:
    tracker = start_crash_tracker()
    assert tracker.begin_together("select", ["a", "b"])
    assert not tracker.begin_together("select", ["a", "b"])
    ray.kill(tracker.actor)
    deadline = time.monotonic() + 60
    while tracker._ask("begin_together", "select", ["a"]) is not None:
        assert time.monotonic() < deadline, "it goes on after it was killed"
    started = time.monotonic()
    assert tracker.begin_together("select", ["a", "b"])
    assert tracker.begin_alone("select", "a") == 0
    tracker.end("select", ["a"])
    assert time.monotonic() - started < 2 * ANSWER_TIMEOUT_SEC + 5


def test_a_tracker_that_is_killed_comes_back_empty() -> None:
    tracker = start_crash_tracker()
    tracker.begin_alone("select", "a")
    ray.kill(tracker.actor, no_restart=False)
    deadline = time.monotonic() + 60
    # From the old one there are crashes to come, from one that is being restarted no answer.
    while tracker._ask("begin_alone", "select", "a") != 0:
        assert time.monotonic() < deadline, "it is not restarted"
    assert tracker.begin_alone("select", "a") == 1
    ray.kill(tracker.actor)
