"""Credentials that run out while a job runs: the chain they came from is read again.

What a client was given in so many words cannot be renewed. Roles of machines and pods, and Google's
and Azure's credentials, are renewed by their clients; the token of Hugging Face is read for each
request. What is left are the files and variables of AWS, which botocore reads once.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any, Final

from pipeline.storage.retry import causes, http_status

__all__ = ["FileSystemRenewal", "is_expired", "renewal_of"]

_CODES: Final = frozenset(
    ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired")
)
_HEADS: Final = ("HeadObject", "HeadBucket")
_PAUSE_SEC: Final = 0.2
_worked: weakref.WeakSet[Any] = weakref.WeakSet()
"""File systems that have let someone in before."""
_renewed: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def is_expired(exc: BaseException) -> bool:
    """Whether a storage says that credentials were good once."""
    return any(code in _CODES for code, _ in _client_errors(exc))


def renewal_of(fs: Any) -> FileSystemRenewal | None:
    """Of the file systems whose credentials this module can renew."""
    protocol = fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)
    if "s3" in protocol:
        given = fs.anon or fs.key or fs.secret or fs.token
        return None if given else FileSystemRenewal(fs)
    return FileSystemRenewal(fs) if "hf" in protocol and not fs.token else None


class FileSystemRenewal:
    """Credentials of one file system."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def helps(self, exc: BaseException) -> bool:
        """Whether the credentials have run out, as far as that can be told.

        The answer to a HEAD has no room for a code, and Hugging Face says 401 to any stranger:
        these count only where the same file system has worked before.
        """
        if is_expired(exc):
            return True
        if self._fs not in _worked:
            return False
        if any(code in ("400", "401") and name in _HEADS for code, name in _client_errors(exc)):
            return True
        return "hf" in self._fs.protocol and any(http_status(e) == 401 for e in causes(exc))

    def renew(self) -> None:
        """Reads the chain again; not oftener than five times a second, whoever asks."""
        with _lock:
            if time.monotonic() - _renewed.get(self._fs, -_PAUSE_SEC) < _PAUSE_SEC:
                return
            _renewed[self._fs] = time.monotonic()
            if "s3" in self._fs.protocol:
                self._fs.connect(refresh=True)

    def note_success(self) -> None:
        """Someone was let in."""
        _worked.add(self._fs)


def _client_errors(exc: BaseException) -> Iterator[tuple[str, str]]:
    """Code and operation of botocore's errors among the causes."""
    for cause in causes(exc):
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            code = str((response.get("Error") or {}).get("Code", ""))
            yield code, str(getattr(cause, "operation_name", ""))
