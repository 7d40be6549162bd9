"""Credentials reach storage, and no log, error, report or part."""

from __future__ import annotations

import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import ray

from pipeline.job.session import main
from pipeline.rows.errors import EXIT_DONE, EXIT_FAILED
from pipeline.settings.config import CaptionConfig
from tests.integration.job import Result, caption
from tests.integration.test_caption_job import images
from tests.integration.test_storage_faults import tar_of
from tests.support.s3_server import S3Server, s3

pytestmark = pytest.mark.usefixtures("cluster")
__all__ = ["s3"]

SECRET = "hunter2-wJalrXUtnFEMI"


class SignedFiles(ThreadingHTTPServer):
    """Gives one tar to those who know the password and the signature, until it is locked."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Signed)
        self.data = data
        self.allowed = 10**9
        self.signed = 0

    def url(self) -> str:
        port = self.server_address[1]
        return f"http://user:{SECRET}@127.0.0.1:{port}/day/a.tar?X-Amz-Signature={SECRET}"


class _Signed(BaseHTTPRequestHandler):
    server: SignedFiles

    def do_GET(self) -> None:
        query = urllib.parse.urlsplit(self.path).query
        assert query == f"X-Amz-Signature={SECRET}"
        assert self.headers["Authorization"].startswith("Basic ")
        self.server.signed += 1
        is_open = self.server.signed <= self.server.allowed
        start, end = 0, len(self.server.data)
        if given := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, end = int(given[1]), min(end, int(given[2]) + 1)
        self.send_response(206 if is_open else 403)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(self.server.data)}")
        self.send_header("Content-Length", str(end - start if is_open else 0))
        self.end_headers()
        if is_open and self.command == "GET":
            self.wfile.write(self.server.data[start:end])

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def signed() -> Iterator[SignedFiles]:
    with SignedFiles(tar_of(images(2))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def logs() -> dict[str, bytes]:
    """Everything below the Ray session's log folder."""
    folder = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_silent(captured: tuple[str, str], *folders: Path) -> None:
    """`SECRET` is in none of the output, the logs and the files below `folders`."""
    out, err = captured
    texts = {"stdout": out.encode(), "stderr": err.encode(), **logs()}
    for folder in folders:
        texts |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(texts) > 2
    spelt = {SECRET, urllib.parse.quote(SECRET)}
    assert [name for name, data in texts.items() if any(s.encode() in data for s in spelt)] == []


def check_rows_silent(result: Result) -> None:
    everything = [*result.captions, *result.quarantine, *result.stats, result.report]
    assert len(result.stats) > 0
    assert SECRET not in json.dumps(everything, default=str)


def test_signed_urls(
    signed: SignedFiles, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = caption([signed.url()], tmp_path / "out")
    assert result.exit_code == EXIT_DONE
    assert len(result.captions) == 2
    assert signed.signed > 0
    check_silent(capfd.readouterr(), tmp_path / "out")
    check_rows_silent(result)


def test_signed_urls_that_expire_while_the_job_runs(
    signed: SignedFiles, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In the plan there is one request; the read task is refused."""
    signed.allowed = 1
    result = caption([signed.url()], tmp_path / "out")
    assert result.exit_code == EXIT_FAILED
    captured = capfd.readouterr()
    assert "/day/a.tar?...: " in captured.err
    check_silent(captured, tmp_path / "out")


def test_dry_run(signed: SignedFiles, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = f"memory://user:{SECRET}@bucket/out"
    assert main(["--input", signed.url(), "--output", output, "--dry-run"], CaptionConfig, "") == 0
    check_silent(capfd.readouterr())


@pytest.mark.parametrize("output", ["s3://secretly/out", "s3://no-such-bucket/out"])
def test_storage_options(
    s3: S3Server, capfd: pytest.CaptureFixture[str], tmp_path: Path, output: str
) -> None:
    s3.put("s3://secretly/in/a.tar", tar_of(images(2)))
    options = {**s3.storage_options, "secret": SECRET}
    inputs = ["s3://secretly/in/a.tar"]
    if "no-such" in output:
        flags = ["--input", *inputs, "--output", output, "--storage-options", json.dumps(options)]
        assert main(flags, CaptionConfig, "") == EXIT_FAILED
    else:
        result = caption(inputs, output, **options)
        assert result.exit_code == EXIT_DONE
        check_rows_silent(result)
        fs = s3.filesystem()
        for path in fs.find("secretly/out"):
            assert SECRET.encode() not in fs.cat_file(path)
    check_silent(capfd.readouterr())
