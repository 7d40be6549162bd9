"""Which storage failures pass by themselves, and how long they are waited for.

Clients retry too, but neither long nor everywhere. Measured with s3fs 2026.9 against a server that
answers 503 to everything: opening or asking for a file gives up after 3 to 11 s, listing and
writing after 33 to 49 s. File systems without a retry of their own (local, SFTP, HTTP) give up at
once. So whole operations are repeated here, on top of what clients do.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Final, Protocol, TypeVar

import tenacity

from pipeline.rows.redact import describe_error

__all__ = ["NO_RETRY", "RETRY", "Renewal", "Retry", "causes", "http_status", "is_transient"]

T = TypeVar("T")
_log = logging.getLogger(__name__)

_PERMANENT: Final = (
    FileNotFoundError,
    PermissionError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    ssl.SSLCertVerificationError,
)
_TRANSIENT: Final = (TimeoutError, ConnectionError, EOFError, HTTPException)
_ERRNOS: Final = frozenset(
    (
        *(errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EPIPE, errno.EREMOTEIO, errno.ESTALE),
        *(errno.ETIMEDOUT, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET),
        *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.ENETUNREACH),
    )
)
_STATUSES: Final = frozenset((408, 425, 429, 500, 502, 503, 504, 509))
# By name, so that a client's package is not imported, nor needed, to know its exceptions.
_CLIENT_TYPES: Final = frozenset(
    (
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "azure.core.exceptions.ServiceRequestError",
        "azure.core.exceptions.ServiceResponseError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.HTTPClientError",
        "botocore.exceptions.IncompleteReadError",
        "botocore.parsers.ResponseParserError",
        "google.auth.exceptions.TransportError",
        "paramiko.ssh_exception.SSHException",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.ChunkedEncodingError",
        "requests.exceptions.Timeout",
        "urllib3.exceptions.HTTPError",
    )
)
_MAX_CAUSES: Final = 10
_CLIENT_PERMANENT: Final = frozenset(("paramiko.ssh_exception.AuthenticationException",))


class Renewal(Protocol):
    """Credentials that are looked for again (`pipeline.storage.renewal`)."""

    def helps(self, exc: BaseException) -> bool: ...

    def renew(self) -> None: ...

    def note_success(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How long a failing storage operation is repeated.

    A call that neither returns nor raises is not bounded here: that is for the client's own
    timeouts (s3fs: 5 s to connect and 15 s without a byte, unless `config_kwargs` says otherwise).
    """

    for_sec: float = 300.0
    """No attempt begins later than this after the first one began; 0: a single attempt."""

    max_wait_sec: float = 20.0
    """Between two attempts. Waits are drawn from 0 to a bound that doubles from half a second, so
    that a thousand readers do not come back all at once."""

    renewal: Renewal | None = None
    """Where credentials may run out while the job runs."""

    def __call__(self, operation: Callable[[], T]) -> T:
        """What `operation` returns.

        Raises:
            Whatever `operation` raised last.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._may_pass),
            stop=tenacity.stop_before_delay(self.for_sec),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=self.max_wait_sec),
            before_sleep=self._prepare,
            reraise=True,
        )
        result = attempts(operation)
        if self.renewal is not None:
            self.renewal.note_success()
        return result

    def _may_pass(self, exc: BaseException) -> bool:
        return is_transient(exc) or (self.renewal is not None and self.renewal.helps(exc))

    def _prepare(self, state: tenacity.RetryCallState) -> None:
        _tell(state)
        exc = state.outcome.exception() if state.outcome else None
        if exc is not None and self.renewal is not None and self.renewal.helps(exc):
            _log.warning("storage: credentials are looked for again")
            self.renewal.renew()


RETRY: Final = Retry()
"""Of everything that goes over a network."""

NO_RETRY: Final = Retry(for_sec=0.0)
"""Of local disks: what is full, gone or broken there does not heal by waiting."""


def is_transient(exc: BaseException) -> bool:
    """Whether the same call may succeed later: by type, errno or HTTP status.

    Of an exception and its causes the outermost that tells is believed. An `OSError` that says
    nothing at all counts as transient: to give up a night's run is dearer than to try in vain.
    """
    chain = list(causes(exc))
    if any(_is_misconfigured(cause) for cause in chain):
        return False
    verdicts = (verdict for cause in chain if (verdict := _verdict(cause)) is not None)
    return next(verdicts, isinstance(exc, OSError) and exc.errno is None)


def _is_misconfigured(exc: BaseException) -> bool:
    """No such host, or not the one it should be; clients call both a failed connection."""
    if isinstance(exc, socket.gaierror):
        return exc.errno != socket.EAI_AGAIN
    return isinstance(exc, ssl.SSLCertVerificationError)


def _verdict(exc: BaseException) -> bool | None:
    if isinstance(exc, _PERMANENT) or _is(exc, _CLIENT_PERMANENT):
        return False
    if isinstance(exc, (*_TRANSIENT, socket.gaierror)) or _is(exc, _CLIENT_TYPES):
        return True
    if (status := http_status(exc)) is not None:
        return status in _STATUSES
    if isinstance(exc, OSError) and exc.errno in _ERRNOS:
        return True
    # s3fs makes an EIO of every code it does not know: its cause has the status.
    return None


def causes(exc: BaseException) -> Iterator[BaseException]:
    """`exc` and what it says it was raised from.

    Not what was merely being handled (`__context__`): s3fs asks for a folder once a file was not
    found, and a failure then has a `FileNotFoundError` as context.
    """
    cause: BaseException | None = exc
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        given = getattr(cause, "kwargs", None)  # botocore keeps it there.
        error = given.get("error") if isinstance(given, dict) else None
        cause = cause.__cause__ or (error if isinstance(error, BaseException) else None)


def http_status(exc: BaseException) -> int | None:
    """The HTTP status as botocore, aiohttp, requests, gcsfs and Azure's client keep it."""
    response: Any = getattr(exc, "response", None)
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        names = ("status", "status_code", "code")
        holders = (exc, response)
        found = next((v for h in holders for n in names if (v := _number(h, n)) is not None), None)
    return found if isinstance(found, int) else None


def _number(holder: object, name: str) -> int | None:
    """An HTTP status; gcsfs keeps it as text, and other attributes may have the same name."""
    value = getattr(holder, name, None)
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    return value if isinstance(value, int) and 100 <= value < 600 else None


def _is(exc: BaseException, names: frozenset[str]) -> bool:
    return any(f"{kind.__module__}.{kind.__name__}" in names for kind in type(exc).__mro__)


def _tell(state: tenacity.RetryCallState) -> None:
    exc = state.outcome.exception() if state.outcome else None
    wait = state.next_action.sleep if state.next_action else 0.0
    told = describe_error(exc) if exc else ""
    _log.warning("storage: attempt %d: %s; next in %.1f s", state.attempt_number, told, wait)
