"""Which failures are waited for, and for how long."""

from __future__ import annotations

import errno
import http.client
import logging
import socket
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import botocore.exceptions
import fsspec.exceptions
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import ContentLengthError
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from pipeline.storage.retry import NO_RETRY, Retry, is_transient

SECRET = "hunter2"
QUICK = Retry(for_sec=5.0, max_wait_sec=0.001)


def s3_error(code: str, status: int) -> Exception:
    """As s3fs raises it."""
    response: Any = {
        "Error": {"Code": code, "Message": code},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    translated: Exception = translate_boto_error(ClientError(response, "GetObject"))
    return translated


def http_error(status: int) -> Exception:
    """As fsspec's HTTP file system raises it."""
    request: Any = SimpleNamespace(real_url="http://host/a")
    return aiohttp.ClientResponseError(request, (), status=status)


def connector_error(number: int) -> Exception:
    key = ConnectionKey("host", 80, False, None, None, None, None)  # type: ignore[arg-type]
    return aiohttp.ClientConnectorError(key, OSError(number, "connect"))


def raised_from(exc: Exception, cause: BaseException) -> Exception:
    exc.__cause__ = cause
    return exc


def raised_after(exc: Exception, handled: Exception) -> Exception:
    """As s3fs does when a file was not found and asking for a folder then fails."""
    exc.__context__ = handled
    return exc


PASSING = [
    s3_error("SlowDown", 503),
    s3_error("503", 503),
    s3_error("InternalError", 500),
    s3_error("TooManyRequests", 429),
    s3_error("Throttling", 503),
    s3_error("RequestTimeout", 400),
    http_error(429),
    http_error(500),
    http_error(502),
    TimeoutError(),
    TimeoutError(),
    fsspec.exceptions.FSTimeoutError(),
    ConnectionResetError(errno.ECONNRESET, "reset"),
    BrokenPipeError(errno.EPIPE, "pipe"),
    OSError(errno.EHOSTUNREACH, "no route"),
    OSError(errno.ESTALE, "stale handle"),
    OSError("the client said nothing else"),
    EOFError("3 of 5 bytes"),
    http.client.IncompleteRead(b"ab", 5),
    aiohttp.ClientPayloadError("not enough data"),
    aiohttp.ServerDisconnectedError(),
    connector_error(errno.ECONNREFUSED),
    botocore.exceptions.ConnectionClosedError(endpoint_url="http://host"),
    botocore.exceptions.EndpointConnectionError(endpoint_url="http://host"),
    botocore.exceptions.ConnectionClosedError(
        endpoint_url="http://host",
        error=raised_from(
            aiohttp.ClientPayloadError("not enough"), ContentLengthError("not enough")
        ),
    ),
    botocore.exceptions.ConnectTimeoutError(endpoint_url="http://host"),
    botocore.exceptions.ReadTimeoutError(endpoint_url="http://host"),
    botocore.exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    socket.gaierror(socket.EAI_AGAIN, "try again"),
    raised_after(ConnectionResetError("reset"), FileNotFoundError("no such file, so a folder?")),
]
LASTING = [
    s3_error("NoSuchKey", 404),
    s3_error("NoSuchBucket", 404),
    s3_error("AccessDenied", 403),
    s3_error("403", 403),
    s3_error("ExpiredToken", 400),
    s3_error("InvalidRange", 416),
    s3_error("SomethingNew", 400),
    s3_error("NotImplemented", 501),
    http_error(401),
    http_error(403),
    http_error(410),
    FileNotFoundError(errno.ENOENT, "gone"),
    PermissionError(errno.EACCES, "denied"),
    OSError(errno.ENOSPC, "disk full"),
    OSError(errno.EDQUOT, "over quota"),
    OSError(errno.EROFS, "read-only"),
    OSError(errno.EIO, "a bad disk"),
    OSError(errno.ENAMETOOLONG, "too long"),
    NotImplementedError(),
    ValueError("bad option"),
    TypeError("bad call"),
    botocore.exceptions.NoCredentialsError(),
    botocore.exceptions.ParamValidationError(report="bad bucket name"),
    ssl.SSLCertVerificationError(1, "certificate verify failed"),
    raised_from(OSError("wrapped"), PermissionError(errno.EACCES, "denied")),
    socket.gaierror(socket.EAI_NONAME, "no such host"),
    botocore.exceptions.SSLError(
        endpoint_url="https://host", error=ssl.SSLCertVerificationError(1, "not who it says")
    ),
    botocore.exceptions.EndpointConnectionError(
        endpoint_url="http://typo", error=socket.gaierror(socket.EAI_NONAME, "no such host")
    ),
]


def named(exc: Exception) -> str:
    return f"{type(exc).__name__}-{exc}"


@pytest.mark.parametrize("exc", PASSING, ids=named)
def test_what_passes(exc: Exception) -> None:
    assert is_transient(exc)


@pytest.mark.parametrize("exc", LASTING, ids=named)
def test_what_lasts(exc: Exception) -> None:
    assert not is_transient(exc)


class Failing:
    """Raises what it is given, one after the other, then returns 7."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return 7


def test_passing_failures_are_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    where = f"https://u:{SECRET}@host/x?X-Amz-Signature={SECRET}"
    operation = Failing(*(ConnectionResetError(f"reset by\n{where}") for _ in range(20)))
    with caplog.at_level(logging.WARNING):
        assert QUICK(operation) == 7
    assert operation.calls == 21
    assert "attempt 1: ConnectionResetError: reset by https://host/x?...; next in" in caplog.text
    assert SECRET not in caplog.text


def test_a_lasting_failure_ends_it_at_once() -> None:
    operation = Failing(TimeoutError(), FileNotFoundError("gone"), TimeoutError())
    with pytest.raises(FileNotFoundError):
        QUICK(operation)
    assert operation.calls == 2


def test_the_last_failure_is_raised_when_time_is_up() -> None:
    operation = Failing(*(TimeoutError(str(i)) for i in range(10_000)))
    with pytest.raises(TimeoutError) as caught:
        Retry(for_sec=0.05, max_wait_sec=0.01)(operation)
    assert operation.calls > 1
    assert str(caught.value) == str(operation.calls - 1)


def test_local_disks_get_one_attempt() -> None:
    operation = Failing(TimeoutError())
    with pytest.raises(TimeoutError):
        NO_RETRY(operation)
    assert operation.calls == 1
