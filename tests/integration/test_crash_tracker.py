"""The book of strikes as an actor: asked from other processes, killed, gone."""

from __future__ import annotations

import os
import time

import pytest
import ray

from pipeline.stages.crash_tracker import ANSWER_TIMEOUT_SEC, StrikeBook, start_strikes

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote(num_cpus=0.1, max_retries=0)
def begin_and_die(book: StrikeBook, ids: list[str]) -> None:
    if len(ids) > 1:
        book.begin_together("select", ids)
    else:
        book.begin_alone("select", ids[0])
    os._exit(1)


@ray.remote(num_cpus=0.1, max_retries=0)
def begin_end_and_begin(book: StrikeBook) -> bool:
    """Ends are not waited for, and yet are in the book before what begins next."""
    for _ in range(20):
        if not book.begin_together("select", ["c", "d"]):
            return False
        book.end("select", ["c", "d"])
    return book.begin_alone("select", "c") == 0


def die_with(book: StrikeBook, *ids: str) -> None:
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(begin_and_die.remote(book, list(ids)))


def test_what_a_process_began_outlives_it() -> None:
    book = start_strikes()
    die_with(book, "a", "b")
    assert not book.begin_together("select", ["b", "e"])
    assert book.begin_together("generate", ["b", "e"])
    die_with(book, "b")
    die_with(book, "b")
    assert book.begin_alone("select", "b") == 2
    assert ray.get(begin_end_and_begin.remote(book))
    ray.kill(book.actor)


def test_without_an_answer_nobody_is_a_suspect() -> None:
    book = start_strikes()
    assert book.begin_together("select", ["a", "b"])
    assert not book.begin_together("select", ["a", "b"])
    ray.kill(book.actor)
    deadline = time.monotonic() + 60
    while book._ask("begin_together", "select", ["a"]) is not None:
        assert time.monotonic() < deadline, "it goes on after it was killed"
    started = time.monotonic()
    assert book.begin_together("select", ["a", "b"])
    assert book.begin_alone("select", "a") == 0
    book.end("select", ["a"])
    assert time.monotonic() - started < 2 * ANSWER_TIMEOUT_SEC + 5


def test_a_book_that_is_killed_comes_back_empty() -> None:
    book = start_strikes()
    book.begin_alone("select", "a")
    ray.kill(book.actor, no_restart=False)
    deadline = time.monotonic() + 60
    # From the old one there are strikes to come, from one that is being restarted no answer.
    while book._ask("begin_alone", "select", "a") != 0:
        assert time.monotonic() < deadline, "it is not restarted"
    assert book.begin_alone("select", "a") == 1
    ray.kill(book.actor)
