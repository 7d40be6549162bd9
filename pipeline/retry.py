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
from typing import Any, Final, TypeVar

import tenacity

from pipeline.redact import describe_error

__all__ = ["NO_RETRY", "RETRY", "Retry", "is_transient"]

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
_CLIENT_PERMANENT: Final = frozenset(("paramiko.ssh_exception.AuthenticationException",))


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

    def __call__(self, operation: Callable[[], T]) -> T:
        """What `operation` returns.

        Raises:
            Whatever `operation` raised last.
        """
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            stop=tenacity.stop_before_delay(self.for_sec),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=self.max_wait_sec),
            before_sleep=_tell,
            reraise=True,
        )
        return attempts(operation)


RETRY: Final = Retry()
"""Of everything that goes over a network."""

NO_RETRY: Final = Retry(for_sec=0.0)
"""Of local disks: what is full, gone or broken there does not heal by waiting."""


def is_transient(exc: BaseException) -> bool:
    """Whether the same call may succeed later. An HTTP status decides, else the type or errno.

    An `OSError` that says nothing about itself counts as transient: giving up a night's run is
    dearer than minutes of trying in vain.
    """
    causes = list(_causes(exc))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return any(getattr(cause, "errno", None) == socket.EAI_AGAIN for cause in causes)
    if isinstance(exc, TimeoutError):  # S3's RequestTimeout comes with status 400.
        return True
    statuses = [status for cause in causes if (status := _status(cause)) is not None]
    if statuses:
        return statuses[0] in _STATUSES
    if any(isinstance(cause, _PERMANENT) or _is(cause, _CLIENT_PERMANENT) for cause in causes):
        return False
    return isinstance(exc, _TRANSIENT) or _is(exc, _CLIENT_TYPES) or _is_transient_os_error(exc)


def _is_transient_os_error(exc: BaseException) -> bool:
    return isinstance(exc, OSError) and (exc.errno is None or exc.errno in _ERRNOS)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """`exc` and what it was raised from; cycles are possible."""
    seen: set[int] = set()
    cause: BaseException | None = exc
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _status(exc: BaseException) -> int | None:
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
