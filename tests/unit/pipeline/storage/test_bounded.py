"""Files that data names, in a real object store: there, missing, too large, forbidden."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.rows.errors import StorageError
from pipeline.storage.bounded import TooLarge, Unreadable, read_bounded
from pipeline.storage.files import open_input
from pipeline.storage.retry import Retry
from tests.support.fault_proxy import fault_proxy
from tests.support.s3_server import S3Server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        server.put("s3://bounded/a.jpg", b"12345")
        yield server


def test_a_file_of_a_bucket(server: S3Server) -> None:
    options = server.storage_options
    assert read_bounded("s3://bounded/a.jpg", options, 5) == b"12345"
    assert read_bounded("s3://bounded/a.jpg", options, 4) == TooLarge(5)
    for missing in ("s3://bounded/b.jpg", "s3://bounded/a.jpg/x", "s3://nosuch/a.jpg"):
        found = read_bounded(missing, options, 5)
        assert isinstance(found, Unreadable) and found.code == "file_not_found"


def test_expired_credentials_stop_the_job_and_not_each_row(server: S3Server) -> None:
    with fault_proxy(server, 0.0) as proxy:
        proxy.valid_key = "another"
        options = S3Server(proxy.url).storage_options
        with pytest.raises(StorageError):
            open_input("s3://bounded/a.jpg", options, Retry(for_sec=0.1))
        with pytest.raises(StorageError):
            read_bounded("s3://bounded/a.jpg", options, 5)
