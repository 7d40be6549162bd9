"""A real S3 server for tests, on a free port of the loopback interface."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import s3fs
from moto.server import ThreadedMotoServer

__all__ = ["S3Server", "s3", "s3_server"]

_KEY = "test-key"
_SECRET = "test-secret"


@dataclass(frozen=True)
class S3Server:
    endpoint_url: str

    @property
    def storage_options(self) -> dict[str, Any]:
        """What fsspec needs to reach this server."""
        return {"endpoint_url": self.endpoint_url, "key": _KEY, "secret": _SECRET}

    @property
    def environment(self) -> dict[str, str]:
        """The same for a process that is given no storage options."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def filesystem(self) -> s3fs.S3FileSystem:
        return s3fs.S3FileSystem(**self.storage_options)

    def put(self, url: str, data: bytes) -> str:
        """Stores `data`, making the bucket if need be; returns `url`."""
        fs = self.filesystem()
        bucket = url.removeprefix("s3://").partition("/")[0]
        if not fs.exists(bucket):
            fs.mkdir(bucket)
        fs.pipe_file(url, data)
        return url


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """An empty server that lives as long as the block."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()


@pytest.fixture
def s3() -> Iterator[S3Server]:
    """`s3_server` as a fixture: import it into the test module that uses it.

    moto keeps its buckets per process: use a bucket name of your own.
    """
    # Instances that took their server from the environment would go on asking that one.
    s3fs.S3FileSystem.clear_instance_cache()
    with s3_server() as server:
        yield server
