"""The storage layer against a real server on a bad night; no Ray."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.rows.errors import StorageError
from pipeline.storage.atomic_write import put, remove
from pipeline.storage.files import filesystem, open_input
from pipeline.storage.retry import NO_RETRY, Retry
from pipeline.storage.walk import expand, ls, walk
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.s3_server import S3Server, s3_server

DEADLINE_SEC = 120.0


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        server.put("s3://nights/start", b"")
        yield server


def options(proxy: FaultProxy, **config: Any) -> dict[str, Any]:
    """Storage options of a client that comes through the proxy."""
    return {**S3Server(proxy.url).storage_options, "config_kwargs": config}


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SEC
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.005)


def hammer(seed: int, options: dict[str, Any], num_operations: int) -> int:
    """Writes, reads, lists and deletes below a folder of its own; returns the bytes compared."""
    rng = random.Random(seed)
    stored: dict[str, bytes] = {}
    compared = 0
    fs, root = filesystem(f"s3://nights/hammer/{seed}", options)
    for index in range(num_operations):
        path = f"{root}/{rng.randrange(5)}"
        kind = rng.choice(["put", "put", "read", "read", "list", "remove"])
        if index == 0 or kind == "put":
            stored[path] = rng.randbytes(rng.randrange(300_000))
            put(fs, path, stored[path])
        elif kind == "read" and path in stored:
            with open_input(f"s3://{path}", options) as file:
                start = rng.randrange(len(stored[path]) + 1)
                file.seek(start)
                pieces = iter(lambda file=file: file.read(rng.randrange(1, 90_000)), b"")
                assert b"".join(pieces) == stored[path][start:]
            compared += len(stored[path]) - start
        elif kind == "list" and stored:
            assert {info["name"] for info in ls(fs, root)} == set(stored)
            assert set(walk(fs, root)) == set(expand(fs, f"s3://{root}/*")) == set(stored)
        elif kind == "remove" and len(stored) > 1:
            stored.pop(path, None)
            remove(fs, path)
    return compared


def test_nothing_is_lost_when_three_in_ten_requests_fail(server: S3Server) -> None:
    with fault_proxy(server, 0.3, seed=7) as proxy, ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(hammer, seed, options(proxy), 50) for seed in range(8)]
        assert sum(run.result() for run in runs) > 1_000_000
    for operation in ("read", "list", "write", "delete"):
        assert proxy.spoiled(operation) >= 3, proxy.faults
    assert sum(proxy.faults.values()) > 100


def reading(url: str, options: dict[str, Any], retry: Retry, pieces: list[bytes]) -> None:
    with open_input(url, options, retry) as file:
        while data := file.read(1_000_000):
            pieces.append(data)


def read_through_an_outage(proxy: FaultProxy, url: str, retry: Retry) -> bytes:
    """Reads `url`; after the first bytes every request fails, until reading fails or 12 have.

    The client is told to ask once where it would five times, to keep the outage short; s3fs still
    makes five of each read, so 12 failures are more than it takes.
    """
    pieces: list[bytes] = []
    impatient = options(proxy, retries={"total_max_attempts": 1})
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(reading, url, impatient, retry, pieces)
        wait_for(lambda: len(pieces) > 0, "the first bytes")
        proxy.share = 1.0
        wait_for(lambda: done.done() or sum(proxy.faults.values()) >= 12, "faults")
        proxy.share = 0.0
        done.result(DEADLINE_SEC)
    return b"".join(pieces)


def test_an_outage_in_the_middle_of_a_file_is_waited_out(server: S3Server) -> None:
    data = random.Random(0).randbytes(30_000_000)
    url = server.put("s3://nights/outage", data)
    with fault_proxy(server, 0.0, weights={"slow_down": 1}) as proxy:
        assert read_through_an_outage(proxy, url, Retry(max_wait_sec=0.2)) == data
        assert proxy.spoiled("read") >= 12
    with (
        fault_proxy(server, 0.0, weights={"slow_down": 1}) as proxy,
        pytest.raises(StorageError, match="cannot read s3://nights/outage: OSError"),
    ):
        read_through_an_outage(proxy, url, NO_RETRY)


def test_an_outage_before_a_write_is_waited_out(server: S3Server) -> None:
    with fault_proxy(server, 1.0, weights={"drop": 1}) as proxy:
        fs, path = filesystem("s3://nights/late", options(proxy, retries={"total_max_attempts": 1}))
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(put, fs, path, b"part", Retry(max_wait_sec=0.2))
            # s3fs tries five times: of ten failures at least one came out of it.
            wait_for(lambda: proxy.spoiled("write") >= 10, "faults")
            proxy.share = 0.0
            done.result(DEADLINE_SEC)
    assert server.filesystem().cat_file("nights/late") == b"part"


def test_a_server_that_says_nothing_is_left(server: S3Server) -> None:
    url = server.put("s3://nights/stalled", b"here")
    with fault_proxy(server, 1.0, weights={"stall": 1}) as proxy:
        impatient = options(proxy, read_timeout=0.2)
        with ThreadPoolExecutor(1) as pool:
            pieces: list[bytes] = []
            done = pool.submit(reading, url, impatient, Retry(), pieces)
            wait_for(lambda: proxy.spoiled("read") >= 2, "stalls")
            proxy.share = 0.0
            done.result(DEADLINE_SEC)
    assert pieces == [b"here"]


@pytest.mark.parametrize("url", ["s3://nights/gone", "s3://no-such-bucket/gone"])
def test_what_is_not_there_is_not_waited_for(server: S3Server, url: str) -> None:
    with fault_proxy(server, 0.0) as proxy:
        with pytest.raises(StorageError, match="FileNotFoundError"):
            open_input(url, options(proxy))
        assert proxy.requests["read"] <= 2
