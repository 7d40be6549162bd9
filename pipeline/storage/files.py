"""Opening files by URL: storage failures told apart from bad data, no secrets in messages."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import io
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import fsspec
from fsspec.spec import AbstractBufferedFile

from pipeline.rows.errors import InputError, JobError, StorageError
from pipeline.rows.redact import cause_of, describe_error, redact_url
from pipeline.storage.renewal import renewal_of
from pipeline.storage.retry import NO_RETRY, RETRY, Retry

__all__ = [
    "StorageFile",
    "file_trouble",
    "filesystem",
    "is_local",
    "local_path",
    "missing_package",
    "open_input",
    "open_path",
    "protocols",
    "redact_url",
    "retry_of",
    "storage_errors",
    "to_filesystem",
    "url_parts",
    "with_client_defaults",
]

_GCS, _AZURE = ("gcsfs", "gcs"), ("adlfs", "azure")
_EXTRAS: Final = {
    **dict.fromkeys(("gs", "gcs"), _GCS),
    **dict.fromkeys(("abfs", "abfss", "az"), _AZURE),
}
"""By scheme: a package, and the extra of this one that brings it."""

# Small enough for many readers side by side, large enough to hide an object store's latency.
_BLOCK_BYTES = 8 * 1024 * 1024


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
        return to_filesystem(url, storage_options)
    except (ValueError, ImportError, TypeError) as exc:
        why = missing_package(url) or describe_error(exc)
        raise InputError(f"cannot use {redact_url(url)}: {why}") from cause_of(exc)


def to_filesystem(url: str, storage_options: Mapping[str, Any]) -> tuple[Any, str]:
    """As `filesystem`, but what fsspec raises comes as it is.

    '::' is part of a name here: fsspec would take `a::b.jpg` for a chain of file systems.
    """
    path = local_path(url)
    if path is not None:
        return fsspec.filesystem("file", **storage_options), path
    options = with_client_defaults(url, storage_options)
    if "::" not in url:
        fs, path = fsspec.core.url_to_fs(url, **options)
        return fs, str(path)
    protocol = url.partition("://")[0]
    kind = fsspec.get_filesystem_class(protocol)
    fs = fsspec.filesystem(protocol, **{**kind._get_kwargs_from_urls(url), **options})
    return fs, str(kind._strip_protocol(url))


def missing_package(url: str) -> str | None:
    """What is to be installed before `url` can be used; None if it is there, or not known."""
    package, extra = _EXTRAS.get(url.partition("://")[0], ("", ""))
    if not package or importlib.util.find_spec(package) is not None:
        return None
    return f"{package} is not installed: pip install 'hired-batch[{extra}]'"


@contextlib.contextmanager
def storage_errors(action: str, url: str) -> Iterator[None]:
    """Turns whatever a storage client raises into `StorageError`, free of credentials."""
    try:
        yield
    except JobError:
        raise
    except Exception as exc:  # Each client has its own exception types; all mean the same here.
        message = f"cannot {action} {redact_url(url)}: {describe_error(exc)}"
        raise StorageError(message) from cause_of(exc)


class StorageFile(io.RawIOBase):
    """A read-only file whose failures are `StorageError`: any other error is the parser's.

    A read that fails for a passing reason is repeated on a newly opened file, from where it began:
    the buffers of the old one may be half filled.
    """

    def __init__(self, open_raw: Callable[[], Any], url: str, retry: Retry = RETRY) -> None:
        super().__init__()
        self._open_raw = open_raw
        self._url = url
        self._retry = retry
        self._offset = 0
        self._raw: Any = None
        self._identity: tuple[object, ...] | None = None
        with storage_errors("open", url):
            self._seekable = bool(retry(self._file).seekable())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._seekable

    def read(self, size: int | None = -1) -> bytes:
        with storage_errors("read", self._url):
            data = self._retry(lambda: self._read(-1 if size is None else size))
        self._offset += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset, whence = self._offset + offset, os.SEEK_SET
        with storage_errors("read", self._url):
            self._offset = int(self._retry(lambda: self._file().seek(offset, whence)))
        return self._offset

    def tell(self) -> int:
        return self._offset

    def close(self) -> None:
        if not self.closed:
            self._drop()
        super().close()

    def _read(self, size: int) -> bytes:
        try:
            raw = self._file()
            _move(raw, self._offset)
            data = bytes(raw.read(size))
            _check_whole(raw, self._offset, size, data)
            return data
        except Exception:
            self._drop()
            raise

    def _file(self) -> Any:
        """The open file; opened again after a failure, if it is still the same one."""
        if self._raw is None:
            raw = self._open_raw()
            identity = _identity(raw)
            if self._identity not in (None, identity):
                raw.close()
                raise StorageError(f"{redact_url(self._url)} changed while it was read")
            self._raw, self._identity = raw, identity
        return self._raw

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            with contextlib.suppress(Exception):  # What was read is read.
                raw.close()


def open_input(
    url: str, storage_options: Mapping[str, Any], retry: Retry | None = None
) -> StorageFile:
    """`url`, open for reading; use it as a context manager.

    Args:
        url: of a file.
        storage_options: passed to fsspec.
        retry: by default `RETRY`, but none on local disks.

    Raises:
        StorageError: if it cannot be opened.
    """
    with storage_errors("open", url):
        fs, path = filesystem(url, storage_options)
    return open_path(fs, path, url, retry)


def open_path(fs: Any, path: str, url: str, retry: Retry | None = None) -> StorageFile:
    """`path` of a file system that is at hand; messages name `url`."""

    def opened() -> Any:
        if is_local(fs):
            _check_regular(path)
        return fs.open(path, "rb", block_size=_BLOCK_BYTES)

    return StorageFile(opened, url, retry or retry_of(fs))


def file_trouble(exc: StorageError, url: str) -> tuple[str, str] | None:
    """Code and detail where `url` alone cannot be opened; None where more may be wrong.

    A file that is not there is its own trouble anywhere. A refusal is on this machine's disk only:
    an object store refuses everything once credentials have run out.
    """
    cause = exc.__cause__
    path = local_path(url)
    if path is not None and not os.path.isdir(os.path.dirname(path)):
        return None  # A disk that is gone, rather.
    if isinstance(cause, FileNotFoundError):
        if path is not None and os.path.islink(path):
            return "file_not_found", f"a link to {os.readlink(path)}, where nothing is"
        return "file_not_found", "gone since it was listed"
    if path is None or not isinstance(cause, OSError):
        return None
    if isinstance(cause, PermissionError | _NotRegularError | IsADirectoryError):
        return "file_unreadable", cause.strerror or str(cause)
    if cause.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
        return "file_unreadable", os.strerror(cause.errno)
    return None


def retry_of(fs: Any) -> Retry:
    """How long operations of this file system are repeated."""
    return NO_RETRY if is_local(fs) else replace(RETRY, renewal=renewal_of(fs))


def is_local(fs: Any) -> bool:
    """Whether `fs` is this machine's disk."""
    return "file" in protocols(fs)


def protocols(fs: Any) -> tuple[str, ...]:
    """The names of the file system's kind."""
    protocol = fs.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def with_client_defaults(url: str, storage_options: Mapping[str, Any]) -> dict[str, Any]:
    """Fewer retries inside botocore: s3fs repeats what botocore repeats, and `Retry` both.

    With botocore's 5 attempts a stalled server is waited for 5 x 5 x 15 s in one call, with 2 it
    is 2.5 minutes.
    """
    options = dict(storage_options)
    if url.startswith(("s3://", "s3a://")):
        retries = {"mode": "standard", "total_max_attempts": 2}
        options["config_kwargs"] = {"retries": retries, **(options.get("config_kwargs") or {})}
    return options


class _NotRegularError(OSError):
    """To open a pipe would be to wait for its writer."""


def _check_regular(path: str) -> None:
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise _NotRegularError(errno.EINVAL, "a pipe, a socket or a device, not a file")


def _move(raw: Any, offset: int) -> None:
    """Sets the position; in a stream that cannot seek, by reading up to it."""
    if raw.tell() == offset:
        return
    if raw.seekable():
        raw.seek(offset)
        return
    while (rest := offset - raw.tell()) > 0:
        if not raw.read(min(rest, _BLOCK_BYTES)):
            raise EOFError(f"the file ended before byte {offset}")


def _check_whole(raw: Any, offset: int, size: int, data: bytes) -> None:
    """An answer cut short must not pass for the end of the file: rows would be lost for good."""
    if not isinstance(raw, AbstractBufferedFile) or not getattr(raw, "size", None):
        return
    if not raw.blocksize:  # A stream: it may give less than was asked for.
        return
    left = max(0, raw.size - offset)
    wanted = left if size < 0 else min(size, left)
    if len(data) != wanted:
        raise EOFError(f"{len(data)} of {wanted} bytes came from byte {offset} on")


def _identity(raw: Any) -> tuple[object, ...]:
    """What tells one version of a remote file from the next, as far as the client knows."""
    details = getattr(raw, "details", None)
    if not isinstance(details, Mapping):
        return ()
    names = ("size", "ETag", "etag", "generation", "mtime", "LastModified", "last_modified")
    return tuple(str(details.get(name)) for name in names)
