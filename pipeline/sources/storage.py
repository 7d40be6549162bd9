"""Opening files by URL: storage failures told apart from bad data, no secrets in messages."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec

from pipeline.errors import InputError, JobError, StorageError

__all__ = [
    "StorageFile",
    "filesystem",
    "local_path",
    "open_input",
    "redact_url",
    "storage_errors",
    "url_parts",
]

# Small enough for many readers side by side, large enough to hide an object store's latency.
_BLOCK_BYTES = 8 * 1024 * 1024
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>()]+")


def redact_url(url: str) -> str:
    """`url` without user name, password and query (where signatures travel)."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    rest, query, _ = rest.partition("?")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" + ("?..." if query else "")


def url_parts(url: str) -> tuple[str, ...]:
    """Scheme, host and path components of `url`, without credentials and web query.

    Equal for two spellings of one file; local paths must be absolute.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "file", url
    if scheme in ("http", "https"):
        rest = rest.partition("?")[0]
    host, *path = rest.rstrip("/").split("/")
    parts = (scheme, host.rpartition("@")[2] if mark else host, *path)
    return parts if any(parts[1:]) else parts[:1]


def local_path(url: str) -> str | None:
    """Absolute path of a local file, None when `url` is remote."""
    if "://" in url and not url.startswith(("file://", "local://")):
        return None
    return os.path.abspath(os.path.expanduser(url.partition("://")[2] or url))


def filesystem(url: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    """The fsspec file system of `url`, and `url`'s path there.

    Raises:
        InputError: if the protocol is unknown or its package is not installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url, **storage_options)
    except (ValueError, ImportError) as exc:
        raise InputError(f"cannot use {redact_url(url)}: {_text_of(exc)}") from exc
    return fs, path


@contextlib.contextmanager
def storage_errors(action: str, url: str) -> Iterator[None]:
    """Turns whatever a storage client raises into `StorageError`, free of credentials."""
    try:
        yield
    except JobError:
        raise
    except Exception as exc:  # Each client has its own exception types; all mean the same here.
        raise StorageError(f"cannot {action} {redact_url(url)}: {_text_of(exc)}") from exc


class StorageFile(io.RawIOBase):
    """A read-only file whose failures are `StorageError`: any other error is the parser's."""

    def __init__(self, raw: Any, url: str) -> None:
        super().__init__()
        self._raw = raw
        self._url = url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._raw.seekable())

    def read(self, size: int | None = -1) -> bytes:
        with storage_errors("read", self._url):
            return bytes(self._raw.read(-1 if size is None else size))

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with storage_errors("read", self._url):
            return int(self._raw.seek(offset, whence))

    def tell(self) -> int:
        return int(self._raw.tell())

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def open_input(url: str, storage_options: Mapping[str, Any]) -> StorageFile:
    """`url`, open for reading; use it as a context manager.

    Raises:
        StorageError: if it cannot be opened.
    """
    with storage_errors("open", url):
        fs, path = filesystem(url, storage_options)
        raw = fs.open(path, "rb", block_size=_BLOCK_BYTES)
    return StorageFile(raw, url)


def _text_of(exc: BaseException) -> str:
    """The exception on one line, with the URLs inside it redacted."""
    text = _URL.sub(lambda match: redact_url(match.group()), " ".join(str(exc).split()))
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
